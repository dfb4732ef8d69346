//! Several databases asked in order, their answers put together.

use std::{net::IpAddr, path::Path, path::PathBuf};

use super::{
    DEMO, GeoError,
    database::{Database, GeoFile},
};
use crate::domain::{
    address,
    place::{Place, PlaceCore, Prefix},
};

/// An ordered list of databases that complete each other: city, country and ASN files, one file per address
/// family, a better file before a wider one.
pub struct GeoDb {
    databases: Vec<Database>,
    demo: bool,
}

impl GeoDb {
    /// Opens and checks every file. Without files: the built-in demo database, or nothing at all. Reads whole
    /// files and walks over them (a second or two for a large one), so keep it off threads that answer requests.
    ///
    /// # Errors
    /// The first file that is missing, is something else, or is damaged.
    pub fn load(files: &[PathBuf], demo: bool) -> Result<Self, GeoError> {
        if files.is_empty() && demo {
            return Self::demo();
        }
        let databases = files.iter().map(|path| Database::open(path)).collect::<Result<_, _>>()?;
        Ok(Self { databases, demo: false })
    }

    /// The built-in demo database: documentation and benchmark addresses only.
    ///
    /// # Errors
    /// Never in a released binary: a test opens it.
    pub fn demo() -> Result<Self, GeoError> {
        let database = Database::from_bytes(Path::new("demo.mmdb"), DEMO.to_vec())?;
        Ok(Self { databases: vec![database], demo: true })
    }

    /// No database: every place is absent.
    pub fn none() -> Self {
        Self { databases: Vec::new(), demo: false }
    }

    /// Whether it is the demo database.
    pub fn is_demo(&self) -> bool {
        self.demo
    }

    /// Whether there is no database at all.
    pub fn is_empty(&self) -> bool {
        self.databases.is_empty()
    }

    /// What the files are, in the order in which they are asked.
    pub fn files(&self) -> Vec<GeoFile> {
        self.databases.iter().map(|database| database.about().clone()).collect()
    }

    /// The place of an address, or `None` when no database says anything of it. City, country and coordinates come
    /// from the first database that has coordinates, what it lacks from the first that has it; number and name of
    /// the autonomous system come together from the first that has the number.
    pub fn lookup(&self, address: IpAddr) -> Option<Place> {
        let address = address::unfold(address);
        let entries: Vec<_> = self.databases.iter().filter_map(|database| database.lookup(address)).collect();
        if entries.is_empty() {
            return None;
        }
        let located = entries.iter().find(|entry| entry.coordinates.is_some());
        let network = entries.iter().find(|entry| entry.asn.is_some());
        // A city from another database than the coordinates could contradict them.
        let city = match located {
            Some(entry) => entry.city,
            None => entries.iter().find_map(|entry| entry.city),
        };
        let country = located
            .and_then(|entry| entry.country)
            .or_else(|| entries.iter().find_map(|entry| entry.country));
        let core = PlaceCore {
            prefix: Prefix::of(address),
            asn: network.and_then(|entry| entry.asn).unwrap_or_default(),
            country,
            coordinates: located.and_then(|entry| entry.coordinates),
        };
        let organization = network.and_then(|entry| entry.organization);
        Some(Place { core, city: city.map(Into::into), organization: organization.map(Into::into) })
    }
}
