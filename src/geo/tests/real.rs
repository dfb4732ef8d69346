//! Databases as publishers write and break them. They are not part of the repository: where the directory is
//! absent these tests have nothing to look at, and say so.

use super::*;

fn sample(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/geoip")).join(name);
    if !path.exists() {
        eprintln!("no {}: nothing to check", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn the_publishers_own_samples_are_read() {
    let names = ["GeoLite2-City-Test.mmdb", "GeoLite2-ASN-Test.mmdb", "GeoLite2-Country-Test.mmdb"];
    let Some(files) = names.iter().map(|name| sample(name)).collect::<Option<Vec<_>>>() else { return };
    let db = load(&files);
    let place = db.lookup(ip("89.160.20.128")).unwrap();
    assert_eq!((city(&place), place.core.country_code()), ("Linköping", Some("SE")));
    assert_eq!(place.core.asn, 29518);
    assert!(place.core.coordinates.is_some());
    assert!(load(&files[2..]).lookup(ip("89.160.20.128")).unwrap().core.coordinates.is_none());
}

#[test]
fn a_database_of_anonymous_addresses_does_no_harm() {
    let Some(path) = sample("GeoIP2-Anonymous-IP-Test.mmdb") else { return };
    let db = load(&[path]);
    assert_eq!(db.lookup(ip("1.2.0.1")), None);
}

#[test]
fn broken_samples_are_refused_by_name() {
    for name in [
        "GeoIP2-City-Test-Broken-Double-Format.mmdb",
        "GeoIP2-City-Test-Invalid-Node-Count.mmdb",
        "MaxMind-DB-test-broken-pointers-24.mmdb",
    ] {
        let Some(path) = sample(name) else { continue };
        let message = refusal(path).to_string();
        assert!(message.contains(name) && message.contains("download it again"), "{message}");
    }
}

#[test]
fn odd_samples_are_refused_or_say_nothing() {
    let names = [
        // Its root leads to data, the other 99 nodes nowhere: readable, and of no use.
        "libmaxminddb-corrupt-search-tree.mmdb",
        "libmaxminddb-deep-nesting.mmdb",
        "libmaxminddb-deep-array-nesting.mmdb",
    ];
    for name in names {
        let Some(path) = sample(name) else { continue };
        if let Ok(db) = GeoDb::load(&[path], false) {
            for address in ["1.1.1.1", "0.0.0.0", "2001:db8::1"] {
                assert_eq!(db.lookup(ip(address)), None, "{name}");
            }
        }
    }
}
