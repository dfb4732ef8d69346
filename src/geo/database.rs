//! One database file: opened into memory (a file replaced under a memory map kills the process), checked once,
//! then only read.

use std::{
    collections::HashSet,
    net::IpAddr,
    path::{Path, PathBuf},
};

use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};
use serde::Serialize;

use super::{GeoError, entry::Entry, node::Node};
use crate::domain::{Millis, event::rfc3339_millis};

/// Distinct records decoded when a file is opened. Enough to meet any damage that is not a stray bit, and a
/// bounded price (a large city database has a few hundred thousand).
const CHECKED_RECORDS: usize = 200_000;

/// What a file is and holds, for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GeoFile {
    /// Name of the file, without its directory.
    pub name: String,
    /// The type that the publisher gave it, such as `GeoLite2-City`.
    #[serde(rename = "type")]
    pub database_type: String,
    /// When the publisher built it.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub build_time: Millis,
    /// How many networks it knows.
    pub networks: u64,
    /// What it can say of an address, of `coordinates`, `country` and `asn`. Empty: nothing that is of use here.
    pub gives: Vec<&'static str>,
}

/// An open database, read into memory.
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    about: GeoFile,
}

impl Database {
    /// Opens and checks a file.
    pub(super) fn open(path: &Path) -> Result<Self, GeoError> {
        let bytes = std::fs::read(path)
            .map_err(|source| GeoError::Unreadable { path: path.to_path_buf(), source })?;
        Self::from_bytes(path, bytes)
    }

    /// Checks a database that is in memory already; `path` is what errors and the status call it.
    pub(super) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, GeoError> {
        if let Some(what) = not_a_database(&bytes) {
            return Err(GeoError::NotADatabase { path: path.to_path_buf(), what });
        }
        let damaged = |source: MaxMindDbError| damage(path.to_path_buf(), &source);
        let reader = Reader::from_source(bytes).map_err(damaged)?;
        let survey = Survey::of(&reader).map_err(damaged)?;
        let about = GeoFile {
            name: path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            database_type: reader.metadata().database_type.clone(),
            build_time: Millis::try_from(reader.metadata().build_epoch)
                .map_or(Millis::MAX, |seconds| seconds.saturating_mul(1000)),
            networks: survey.networks,
            gives: survey.gives(),
        };
        // Damage that the format cannot show: a tree that leads to nothing, or records without a field.
        if about.networks == 0 || survey.records == 0 {
            let reason = "no address leads to a record".to_owned();
            return Err(GeoError::Damaged { path: path.to_path_buf(), reason });
        }
        Ok(Self { reader, about })
    }

    /// What `/readyz` and the start say of the file.
    pub(super) fn about(&self) -> &GeoFile {
        &self.about
    }

    /// What it says of an address. A record that cannot be read says nothing.
    pub(super) fn lookup(&self, address: IpAddr) -> Option<Entry<'_>> {
        if address.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return None;
        }
        let found = self.reader.lookup(address).and_then(|found| decode(&found));
        found.ok().flatten().filter(|entry| !entry.is_empty())
    }
}

fn decode<'a>(found: &LookupResult<'a, Vec<u8>>) -> Result<Option<Entry<'a>>, MaxMindDbError> {
    Ok(found.decode::<Node<'a>>()?.map(|record| Entry::read(&record)))
}

/// What a walk over all networks of a file found.
#[derive(Default)]
struct Survey {
    networks: u64,
    /// How many distinct records were met.
    records: u64,
    coordinates: bool,
    country: bool,
    asn: bool,
}

impl Survey {
    /// Walks over the whole search tree and decodes the records.
    fn of(reader: &Reader<Vec<u8>>) -> Result<Self, MaxMindDbError> {
        let metadata = reader.metadata();
        // The library's own check is stricter than the format: it wants a type and a description, which some
        // publishers leave out. Their files still get the walk below.
        if !metadata.description.is_empty() && !metadata.database_type.is_empty() {
            reader.verify()?;
        }
        let mut survey = Self::default();
        let mut seen = HashSet::new();
        // A tree of n nodes has n + 1 leaves at most. One whose branches meet again can have 2^128.
        let most = u64::from(metadata.node_count).saturating_mul(3);
        let mut leaves = 0;
        // Leaves without data too: branches that meet again and never meet data would be walked for ever.
        for found in reader.networks(WithinOptions::default().include_networks_without_data())? {
            let found = found?;
            leaves += 1;
            if leaves > most {
                return Err(MaxMindDbError::invalid_database(
                    "the search tree has more leaves than its nodes allow",
                ));
            }
            let Some(offset) = found.offset() else { continue };
            survey.networks += 1;
            if seen.len() < CHECKED_RECORDS
                && seen.insert(offset)
                && let Some(entry) = decode(&found)?
            {
                survey.records += 1;
                survey.note(&entry);
            }
        }
        Ok(survey)
    }

    fn note(&mut self, entry: &Entry<'_>) {
        self.coordinates |= entry.coordinates.is_some();
        self.country |= entry.country.is_some();
        self.asn |= entry.asn.is_some();
    }

    fn gives(&self) -> Vec<&'static str> {
        [("coordinates", self.coordinates), ("country", self.country), ("asn", self.asn)]
            .into_iter()
            .filter_map(|(name, given)| given.then_some(name))
            .collect()
    }
}

fn damage(path: PathBuf, source: &MaxMindDbError) -> GeoError {
    GeoError::Damaged { path, reason: source.to_string() }
}

/// Recognises what people put in place of a database by mistake.
fn not_a_database(bytes: &[u8]) -> Option<&'static str> {
    const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
    match bytes {
        [] => Some("the file is empty"),
        [0x1f, 0x8b, ..] => Some("it is compressed (gzip); unpack it first"),
        [b'P', b'K', 3, 4, ..] => Some("it is a zip archive; unpack it first"),
        _ if bytes.windows(MARKER.len()).any(|window| window == MARKER) => None,
        _ => Some("it has no MaxMind DB metadata (a text file, a page or half a download?)"),
    }
}
