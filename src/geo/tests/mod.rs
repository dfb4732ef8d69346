//! The room's tests, on databases written for each of them.

mod demo;
mod files;
mod layouts;
mod live;
mod real;

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use mmdb_writer::{IpVersion, Value, Writer};
use tempfile::TempDir;

use super::{GeoDb, GeoError};
use crate::domain::place::Place;

/// A directory of databases for one test.
struct Shelf(TempDir);

impl Shelf {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a database for both address families.
    fn put(&self, name: &str, records: &[(&str, Value)]) -> PathBuf {
        self.put_for(name, IpVersion::V6, records)
    }

    fn put_for(&self, name: &str, version: IpVersion, records: &[(&str, Value)]) -> PathBuf {
        self.put_bytes(name, &database(version, records))
    }

    fn put_bytes(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn database(version: IpVersion, records: &[(&str, Value)]) -> Vec<u8> {
    let writer = Writer::builder("Test").ip_version(version).description(&[("en", "test")]);
    let mut writer =
        writer.build_epoch(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)).build();
    for (network, record) in records {
        writer.insert_value(network.parse::<IpNet>().unwrap(), record.clone()).unwrap();
    }
    writer.to_bytes().unwrap()
}

/// A record in MaxMind's layout.
fn nested(city: &str, country: &str, latitude: f64, longitude: f64, radius: u16) -> Value {
    Value::map([
        ("city", Value::map([("names", Value::map([("de", Value::from("?")), ("en", Value::from(city))]))])),
        ("country", Value::map([("iso_code", Value::from(country))])),
        (
            "location",
            Value::map([
                ("latitude", Value::Double(latitude)),
                ("longitude", Value::Double(longitude)),
                ("accuracy_radius", Value::U16(radius)),
            ]),
        ),
    ])
}

/// A record of an ASN database.
fn network(asn: impl Into<Value>, organization: &str) -> Value {
    Value::map([
        ("autonomous_system_number", asn.into()),
        ("autonomous_system_organization", Value::from(organization)),
    ])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn load(files: &[PathBuf]) -> GeoDb {
    GeoDb::load(files, false).unwrap()
}

fn refusal(path: PathBuf) -> GeoError {
    match GeoDb::load(std::slice::from_ref(&path), false) {
        Err(error) => error,
        Ok(_) => panic!("{} was taken", path.display()),
    }
}

fn city(place: &Place) -> &str {
    place.city.as_deref().unwrap_or_default()
}
