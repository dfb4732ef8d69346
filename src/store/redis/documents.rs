//! Documents: small things that people configure, in one hash with a revision, beside a stream of what changed at
//! which.

use redis::Value;

use super::{
    RedisStore,
    error::{unreadable, unreadable_because},
    events::encode,
    packing::json,
    reply::read_value,
    scripts::{CHANGES, Call, DOCUMENT},
};
use crate::{
    domain::{event::Event, stable_hash},
    store::{
        Changed, Document, DocumentKind, DocumentStore, Revision, StoreError, StoreResult,
        roles::CHANGES_KEPT,
    },
};

/// The field that counts changes; no document's field is without a slash.
const REVISION: &str = "#";
/// The field with the mark of the last change, and with its revision: a version without marks does not write it.
const MARK: &str = "#mark";

/// So many are read on a thread of their own: 100,000 take longer than a request may wait.
const MANY: usize = 500;

impl DocumentStore for RedisStore {
    /// All of them, as one moment saw them.
    fn documents(&self) -> StoreResult<'_, (Revision, Vec<Document>)> {
        Box::pin(async move {
            let mut command = redis::cmd("HGETALL");
            command.arg(self.keys.documents());
            let reply = self.link.command(command).await?;
            if matches!(&reply, Value::Map(fields) if fields.len() < MANY) {
                return read_all(reply);
            }
            let read = tokio::task::spawn_blocking(move || read_all(reply)).await;
            read.map_err(unreadable_because("the documents"))?
        })
    }

    fn documents_revision(&self) -> StoreResult<'_, Revision> {
        Box::pin(async move {
            let mut command = redis::cmd("HMGET");
            command.arg(self.keys.documents()).arg(REVISION).arg(MARK);
            let (number, mark): (Option<String>, Option<String>) =
                read_value(self.link.command(command).await?)?;
            revision_of(number.as_deref(), mark.as_deref())
        })
    }

    fn documents_since(&self, known: Revision) -> StoreResult<'_, Option<Changed>> {
        Box::pin(async move {
            let call = Call::new(&CHANGES)
                .key(self.keys.documents())
                .key(self.keys.document_changes())
                .arg(known.number.to_string())
                .arg(if known.mark == 0 { String::new() } else { format!("{:x}", known.mark) });
            let texts: Option<Vec<Option<String>>> = read_value(self.link.call(call).await?)?;
            texts.map(|texts| read_changes(&texts)).transpose()
        })
    }

    fn write_document<'a>(&'a self, document: &'a Document, event: &'a Event) -> StoreResult<'a, bool> {
        Box::pin(async move { Ok(self.write_one(document, event, None).await? == Value::Int(1)) })
    }

    fn write_document_at<'a>(
        &'a self,
        document: &'a Document,
        event: &'a Event,
        at: Revision,
    ) -> StoreResult<'a, bool> {
        Box::pin(async move { Ok(self.write_one(document, event, Some(at)).await? != Value::Int(-1)) })
    }
}

impl RedisStore {
    /// Writes a document, if `at` is the revision that there is. The reply of the script.
    async fn write_one(
        &self,
        document: &Document,
        event: &Event,
        at: Option<Revision>,
    ) -> Result<Value, StoreError> {
        let body = if document.body.is_null() { Vec::new() } else { json(&document.body)? };
        let (field, event) = (format!("{}/{}", document.kind.name(), document.name), encode(event)?);
        let change = [field.as_bytes(), &body, &event].concat();
        let mark = format!("{:x}", stable_hash(&change).max(1));
        // A mark of 0 says nothing.
        let marked = at.filter(|at| at.mark != 0);
        // All keys are in partition 0's slot, whatever the event is about.
        let call = Call::new(&DOCUMENT)
            .key(self.keys.documents())
            .key(self.keys.document_changes())
            .key(self.keys.events(0))
            .arg(field)
            .arg(body)
            .arg(self.event_cap())
            .arg(event)
            .arg(mark)
            .arg(CHANGES_KEPT.to_string())
            .arg(at.map(|at| at.number.to_string()).unwrap_or_default())
            .arg(marked.map(|at| format!("{} {:x}", at.number, at.mark)).unwrap_or_default());
        self.link.call(call).await
    }
}

fn read_all(reply: Value) -> Result<(Revision, Vec<Document>), StoreError> {
    let fields: Vec<(String, String)> =
        redis::from_redis_value(reply).map_err(unreadable_because("the documents"))?;
    let (mut number, mut mark) = (None, None);
    let mut documents = Vec::with_capacity(fields.len());
    for (field, body) in &fields {
        match field.as_str() {
            REVISION => number = Some(body.as_str()),
            MARK => mark = Some(body.as_str()),
            field => documents.extend(document(field, body)?),
        }
    }
    documents.sort_unstable_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    Ok((revision_of(number, mark)?, documents))
}

/// What the script of changes replied: the revision and its mark, then pairs of field and JSON.
fn read_changes(texts: &[Option<String>]) -> Result<Changed, StoreError> {
    let (head, pairs) = texts.split_at_checked(2).ok_or_else(|| unreadable("what changed"))?;
    let mut documents = Vec::with_capacity(pairs.len() / 2);
    for pair in pairs.chunks_exact(2) {
        let field = pair[0].as_deref().unwrap_or_default();
        documents.extend(document(field, pair[1].as_deref().unwrap_or("null"))?);
    }
    Ok(Changed { revision: revision_of(head[0].as_deref(), head[1].as_deref())?, documents })
}

fn revision_of(number: Option<&str>, mark: Option<&str>) -> Result<Revision, StoreError> {
    const WHAT: &str = "the revision of the documents";
    let number = number.unwrap_or("0");
    let mark = match mark.and_then(|mark| mark.split_once(' ')) {
        Some((of, mark)) if of == number => {
            u64::from_str_radix(mark, 16).map_err(unreadable_because(WHAT))?
        }
        _ => 0,
    };
    Ok(Revision { number: number.parse().map_err(unreadable_because(WHAT))?, mark })
}

/// A kind that this version does not know is a newer one's business.
fn document(field: &str, body: &str) -> Result<Option<Document>, StoreError> {
    let Some((kind, name)) = field.split_once('/') else { return Ok(None) };
    let Some(kind) = DocumentKind::ALL.iter().copied().find(|k| k.name() == kind) else { return Ok(None) };
    let body = serde_json::from_str(body).map_err(unreadable_because("a document"))?;
    Ok(Some(Document { kind, name: name.into(), body }))
}
