//! Traffic that others have logged, as usage records: `keyward import` and `keyward replay --map`.
//!
//! A map says where in a logged request each field of a record is (`map`), `value` brings what is there into the form
//! of a record, `combined` takes the one format apart that is no JSON, and `files` reads logs: lines, documents of many
//! records, whole folders, packed or not. `bill` reads what a provider bills, as JSON or as a `table`. Nothing here
//! decides anything: what is made of requests is what `POST /v1/record` takes.

mod bill;
mod combined;
mod files;
mod map;
mod table;
mod value;

pub use bill::{Bill, BillMap, BillPlace, NAMED_BILLS};
pub use files::{ImportError, Imported, import};
pub use map::{Map, MapError, NAMED};
