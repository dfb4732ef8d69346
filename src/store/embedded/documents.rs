//! Reading documents and their revision.

use rusqlite::Connection;

use super::sqlite::{failed, unreadable};
use crate::store::{Document, DocumentKind, StoreError};

/// The revision of the documents.
pub(super) fn revision(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = 'documents_revision'";
    let revision: i64 = connection.query_row(sql, [], |row| row.get(0)).map_err(failed)?;
    Ok(revision.max(0) as u64)
}

/// Every document, in the order of kind and name, with the revision they belong to.
/// Both are read in one transaction, so a revision never goes with older documents.
pub(super) fn all(connection: &Connection) -> Result<(u64, Vec<Document>), StoreError> {
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let revision = revision(&transaction)?;
    let mut documents = Vec::new();
    {
        let sql = "SELECT name, body FROM documents WHERE kind = ? ORDER BY name";
        let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
        for &kind in DocumentKind::ALL {
            let rows = statement
                .query_map([kind.name()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
                .map_err(failed)?;
            for row in rows {
                let (name, body) = row.map_err(failed)?;
                let body = serde_json::from_str(&body).map_err(unreadable)?;
                documents.push(Document { kind, name, body });
            }
        }
    }
    transaction.finish().map_err(failed)?;
    Ok((revision, documents))
}
