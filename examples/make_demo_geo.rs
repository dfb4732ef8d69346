//! Makes `geoip/demo.mmdb` from the tables beside it: `cargo run --example make_demo_geo`.
//!
//! The layout is that of a MaxMind city database, with the fields of an ASN database in the same record. A test
//! runs this again and compares the bytes, so the tables and the file cannot drift apart.

use std::{
    error::Error,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use ipnet::IpNet;
use mmdb_writer::{Value, Writer};

/// 2026-01-01, so that the same tables always make the same bytes.
const BUILD_EPOCH: Duration = Duration::from_secs(1_767_225_600);

const CITIES: &str = include_str!("../geoip/demo-cities.csv");
const NETWORKS: &str = include_str!("../geoip/demo-networks.csv");

#[allow(dead_code, reason = "the test that includes this file calls `build` instead")]
fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip/demo.mmdb");
    std::fs::write(&path, build()?)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// The demo database.
#[allow(
    unreachable_pub,
    reason = "a test includes this file as a module, to compare what it builds with what is shipped"
)]
pub fn build() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut writer = Writer::builder("Keyward-Demo")
        .description(&[("en", "Invented networks in documentation ranges, for demonstrations")])
        .build_epoch(UNIX_EPOCH + BUILD_EPOCH)
        .build();
    for row in rows(NETWORKS) {
        let [network, city, country, latitude, longitude, radius, _sort, asn, organization] = row[..] else {
            return Err(format!("a network needs 9 columns: {row:?}").into());
        };
        let zone = rows(CITIES).find(|c| c[0] == city).map(|c| c[5]);
        let mut location = vec![
            ("latitude", Value::Double(latitude.parse()?)),
            ("longitude", Value::Double(longitude.parse()?)),
            ("accuracy_radius", Value::U16(radius.parse()?)),
        ];
        location.extend(zone.map(|zone| ("time_zone", Value::from(zone))));
        let mut record = vec![
            ("country", Value::map([("iso_code", Value::from(country))])),
            ("location", Value::map(location)),
            ("autonomous_system_number", Value::U32(asn.parse()?)),
            ("autonomous_system_organization", Value::from(organization)),
        ];
        if !city.is_empty() {
            record.push(("city", Value::map([("names", Value::map([("en", Value::from(city))]))])));
        }
        writer.insert_value(network.parse::<IpNet>()?, Value::map(record))?;
    }
    Ok(writer.to_bytes()?)
}

/// The rows of a table, without comments and heading. No field holds a comma.
fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.skip(1).map(|line| line.split(',').collect())
}
