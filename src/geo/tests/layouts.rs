//! Layouts of records, and files that complete each other.

use super::*;
use crate::{domain::place::Coordinates, geo::DEFAULT_RADIUS_KM};

fn flat(latitude: Value, longitude: Value) -> Value {
    Value::map([
        ("city", Value::from("Lima")),
        ("country_code", Value::from("PE")),
        ("latitude", latitude),
        ("longitude", longitude),
    ])
}

#[test]
fn a_nested_record_is_read() {
    let shelf = Shelf::new();
    let db = load(&[shelf.put("city.mmdb", &[("192.0.2.0/24", nested("Lyon", "FR", 45.764, 4.8357, 20))])]);
    let place = db.lookup(ip("192.0.2.9")).unwrap();
    assert_eq!((city(&place), place.core.country_code()), ("Lyon", Some("FR")));
    let coordinates = Coordinates { latitude: 45.764, longitude: 4.8357, radius_km: 20 };
    assert_eq!(place.core.coordinates, Some(coordinates));
    assert_eq!(db.lookup(ip("198.51.100.1")), None);
}

#[test]
fn a_flat_record_is_read_whatever_the_type_of_its_numbers() {
    let kinds = [
        (Value::Double(-12.0464), Value::Double(-77.0428)),
        (Value::Float(-12.0464), Value::Float(-77.0428)),
        (Value::from("-12.0464"), Value::from("-77.0428")),
        (Value::I32(-12), Value::I32(-77)),
    ];
    for (latitude, longitude) in kinds {
        let shelf = Shelf::new();
        let db = load(&[shelf.put("flat.mmdb", &[("192.0.2.0/24", flat(latitude, longitude))])]);
        let place = db.lookup(ip("192.0.2.1")).unwrap();
        assert_eq!((city(&place), place.core.country_code()), ("Lima", Some("PE")));
        let coordinates = place.core.coordinates.unwrap();
        assert!((coordinates.latitude + 12.0).abs() < 0.05 && (coordinates.longitude + 77.0).abs() < 0.05);
        assert_eq!(coordinates.radius_km, DEFAULT_RADIUS_KM);
    }
}

#[test]
fn a_country_alone_has_no_coordinates() {
    let shelf = Shelf::new();
    let registered = Value::map([("registered_country", Value::map([("iso_code", Value::from("KE"))]))]);
    let short = Value::map([("country_code", Value::from("gh"))]);
    let db = load(&[shelf.put("country.mmdb", &[("192.0.2.0/24", registered), ("198.51.100.0/24", short)])]);
    for (address, country) in [("192.0.2.1", "KE"), ("198.51.100.1", "GH")] {
        let place = db.lookup(ip(address)).unwrap();
        assert_eq!((place.core.country_code(), place.core.coordinates), (Some(country), None));
    }
}

#[test]
fn a_city_file_and_a_network_file_complete_each_other() {
    let shelf = Shelf::new();
    let cities = shelf.put("city.mmdb", &[("192.0.2.0/24", nested("Lyon", "FR", 45.7, 4.8, 20))]);
    let numbers = shelf.put(
        "asn.mmdb",
        &[("192.0.2.0/24", network(64512_u32, "Number")), ("198.51.100.0/24", network("64513", "Text"))],
    );
    let db = load(&[numbers, cities]);
    let place = db.lookup(ip("192.0.2.1")).unwrap();
    assert_eq!(
        (city(&place), place.core.asn, place.organization.as_deref()),
        ("Lyon", 64512, Some("Number"))
    );
    let place = db.lookup(ip("198.51.100.1")).unwrap();
    assert_eq!((place.core.asn, place.core.coordinates, place.city), (64513, None, None));
}

#[test]
fn the_first_file_with_coordinates_names_the_city() {
    let shelf = Shelf::new();
    let country = Value::map([("country_code", Value::from("BE")), ("city", Value::from("Ghent"))]);
    let files = [
        shelf.put("country.mmdb", &[("192.0.2.0/24", country)]),
        shelf.put("good.mmdb", &[("192.0.2.0/24", nested("Lyon", "FR", 45.7, 4.8, 20))]),
        shelf.put("wide.mmdb", &[("192.0.0.0/16", nested("Paris", "FR", 48.8, 2.3, 20))]),
    ];
    let db = load(&files);
    let place = db.lookup(ip("192.0.2.1")).unwrap();
    assert_eq!((city(&place), place.core.country_code()), ("Lyon", Some("FR")));
    assert_eq!(city(&db.lookup(ip("192.0.3.1")).unwrap()), "Paris");
}

#[test]
fn files_for_one_address_family_stand_side_by_side() {
    let shelf = Shelf::new();
    let v4 = &[("192.0.2.0/24", nested("Lyon", "FR", 45.7, 4.8, 20))];
    let v4 = shelf.put_for("v4.mmdb", IpVersion::V4, v4);
    assert_eq!(load(std::slice::from_ref(&v4)).lookup(ip("2001:db8::1")), None);

    let v6 = shelf.put("v6.mmdb", &[("2001:db8::/40", nested("Oslo", "NO", 59.9, 10.7, 20))]);
    let db = load(&[v4, v6]);
    assert_eq!(city(&db.lookup(ip("192.0.2.1")).unwrap()), "Lyon");
    assert_eq!(city(&db.lookup(ip("::ffff:192.0.2.1")).unwrap()), "Lyon");
    assert_eq!(city(&db.lookup(ip("2001:db8::1")).unwrap()), "Oslo");
}

#[test]
fn a_record_of_another_kind_is_no_entry() {
    let shelf = Shelf::new();
    let anonymous =
        Value::map([("is_anonymous", Value::Bool(true)), ("seen", Value::array([Value::from("x")]))]);
    let db = load(&[shelf.put("anonymous.mmdb", &[("192.0.2.0/24", anonymous)])]);
    assert_eq!(db.lookup(ip("192.0.2.1")), None);
    assert!(db.files()[0].gives.is_empty());
}
