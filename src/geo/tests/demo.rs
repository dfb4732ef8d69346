//! What the demo database knows, and what it does not.

use std::collections::HashSet;

use super::*;
use crate::geo::DEMO;

#[path = "../../../examples/make_demo_geo.rs"]
mod make_demo_geo;

#[test]
fn the_file_is_what_its_tables_make() {
    let made = make_demo_geo::build().unwrap();
    assert!(made == DEMO, "geoip/demo.mmdb is out of date: run `cargo run --example make_demo_geo`");
    assert!(DEMO.len() < 300_000);
}

#[test]
fn the_addresses_of_the_examples_are_where_the_examples_say() {
    let db = GeoDb::demo().unwrap();
    for (address, name, country) in [
        ("203.0.113.7", "Singapore", "SG"),
        ("198.51.100.7", "Bucharest", "RO"),
        ("2001:db8::7", "Singapore", "SG"),
    ] {
        let place = db.lookup(ip(address)).unwrap();
        assert_eq!((city(&place), place.core.country_code()), (name, Some(country)));
        assert!(place.core.asn != 0 && place.organization.is_some());
        assert!(place.core.coordinates.unwrap().radius_km > 0);
    }
}

#[test]
fn it_knows_no_address_that_somebody_could_have() {
    let db = GeoDb::demo().unwrap();
    for address in
        ["8.8.8.8", "10.0.0.1", "127.0.0.1", "192.0.3.1", "198.17.255.255", "198.20.0.1", "2001:db9::1"]
    {
        assert_eq!(db.lookup(ip(address)), None, "{address}");
    }
}

#[test]
fn it_covers_every_continent() {
    let table = include_str!("../../../geoip/demo-cities.csv");
    let rows: Vec<_> = table.lines().skip(2).map(|line| line.split(',').collect::<Vec<_>>()).collect();
    let continents: HashSet<_> = rows.iter().map(|row| row[2]).collect();
    assert!(rows.len() >= 45 && continents.len() == 7, "{} cities, {continents:?}", rows.len());
}
