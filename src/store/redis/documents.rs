//! Documents: small things that people configure, in one hash with a revision.

use std::collections::BTreeMap;

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    respond::{encode, json},
    scripts::{Call, DOCUMENT},
};
use crate::{
    domain::event::Event,
    store::{Document, DocumentKind, StoreError},
};

/// The field that counts changes; no document's field is without a slash.
const REVISION: &str = "#";

/// So many are read on a thread of their own: 100,000 take longer than a request may wait.
const MANY: usize = 500;

impl RedisStore {
    /// All of them, as one moment saw them.
    pub(super) async fn all_documents(&self) -> Result<(u64, Vec<Document>), StoreError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.keys.documents());
        let reply = self.link.command(command).await?;
        if matches!(&reply, Value::Map(fields) if fields.len() < MANY) {
            return read_all(reply);
        }
        let read = tokio::task::spawn_blocking(move || read_all(reply)).await;
        read.map_err(|_| unreadable("the documents"))?
    }

    /// How often any of them changed.
    pub(super) async fn revision(&self) -> Result<u64, StoreError> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.documents()).arg(REVISION);
        let revision: Option<String> = self.read_value(self.link.command(command).await?)?;
        revision_of(revision.as_deref())
    }

    /// Writes one, or deletes it where its body is null, and says so in the log.
    pub(super) async fn put_document(&self, document: &Document, event: &Event) -> Result<bool, StoreError> {
        let body = if document.body.is_null() { Vec::new() } else { json(&document.body)? };
        // Both keys are in partition 0's slot, whatever the event is about.
        let call = Call::new(&DOCUMENT)
            .key(self.keys.documents())
            .key(self.keys.events(0))
            .arg(format!("{}/{}", document.kind.name(), document.name))
            .arg(body)
            .arg(self.event_cap())
            .arg(encode(event)?);
        Ok(self.link.call(call).await? == Value::Int(1))
    }
}

fn read_all(reply: Value) -> Result<(u64, Vec<Document>), StoreError> {
    let fields: BTreeMap<String, String> =
        redis::from_redis_value(reply).map_err(|_| unreadable("the documents"))?;
    let mut documents = Vec::with_capacity(fields.len());
    for (field, body) in fields.iter().filter(|(field, _)| *field != REVISION) {
        documents.extend(document(field, body)?);
    }
    Ok((revision_of(fields.get(REVISION).map(String::as_str))?, documents))
}

fn revision_of(text: Option<&str>) -> Result<u64, StoreError> {
    text.map_or(Ok(0), |text| text.parse().map_err(|_| unreadable("the revision of the documents")))
}

/// A kind that this version does not know is a newer one's business.
fn document(field: &str, body: &str) -> Result<Option<Document>, StoreError> {
    let Some((kind, name)) = field.split_once('/') else { return Ok(None) };
    let Some(kind) = DocumentKind::ALL.iter().copied().find(|k| k.name() == kind) else { return Ok(None) };
    let body = serde_json::from_str(body).map_err(|_| unreadable("a document"))?;
    Ok(Some(Document { kind, name: name.into(), body }))
}
