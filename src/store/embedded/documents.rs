//! Documents, their revision, and what changed since one: the role over the rows.

use super::{EmbeddedStore, document_rows as rows, readers::Size};
use crate::{
    domain::event::Event,
    store::{Changed, Document, DocumentStore, Revision, StoreResult},
};

impl DocumentStore for EmbeddedStore {
    fn documents(&self) -> StoreResult<'_, (Revision, Vec<Document>)> {
        Box::pin(self.read_sized(Size::Own, rows::all))
    }

    fn documents_revision(&self) -> StoreResult<'_, Revision> {
        Box::pin(async { Ok(rows::unmarked(self.memory.revision())) })
    }

    fn documents_since(&self, known: Revision) -> StoreResult<'_, Option<Changed>> {
        Box::pin(self.read_sized(Size::Own, move |connection| rows::since(connection, known)))
    }

    fn write_document<'a>(&'a self, document: &'a Document, event: &'a Event) -> StoreResult<'a, bool> {
        let (document, event) = (document.clone(), event.clone());
        Box::pin(self.write(move |connection, effects| rows::write(connection, &document, event, effects)))
    }

    fn write_document_at<'a>(
        &'a self,
        document: &'a Document,
        event: &'a Event,
        at: Revision,
    ) -> StoreResult<'a, bool> {
        let (document, event) = (document.clone(), event.clone());
        Box::pin(self.write(move |connection, effects| {
            if rows::unmarked(rows::revision(connection)?) != at {
                return Ok(false);
            }
            rows::write(connection, &document, event, effects).map(|_| true)
        }))
    }
}
