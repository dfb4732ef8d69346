//! Files that are missing, something else, or damaged.

use super::*;
use crate::geo::DEMO;

#[test]
fn a_missing_file_is_named() {
    let message = refusal(Shelf::new().path("none.mmdb")).to_string();
    assert!(message.contains("none.mmdb") && message.contains("geoip.files"), "{message}");
}

#[test]
fn a_file_that_is_no_database_is_named_and_described() {
    let shelf = Shelf::new();
    let cases: [(&[u8], &str); 4] = [
        (b"", "empty"),
        (b"<html>please sign in</html>", "no MaxMind DB metadata"),
        (&[0x1f, 0x8b, 8, 0], "gzip"),
        (b"PK\x03\x04...", "zip"),
    ];
    for (bytes, what) in cases {
        let error = refusal(shelf.put_bytes("odd.mmdb", bytes));
        assert!(matches!(error, GeoError::NotADatabase { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("odd.mmdb") && message.contains(what), "{message}");
    }
}

#[test]
fn half_a_download_is_refused() {
    let shelf = Shelf::new();
    refusal(shelf.put_bytes("head.mmdb", &DEMO[..DEMO.len() / 2]));
    let error = refusal(shelf.put_bytes("tail.mmdb", &DEMO[DEMO.len() / 2..]));
    assert!(error.to_string().contains("download it again"), "{error}");
}

#[test]
fn one_bad_file_among_good_ones_is_the_one_that_is_named() {
    let shelf = Shelf::new();
    let good = shelf.put_bytes("good.mmdb", DEMO);
    let bad = shelf.put_bytes("bad.mmdb", &DEMO[DEMO.len() / 2..]);
    let error = GeoDb::load(&[good, bad], false).err().unwrap();
    assert!(error.to_string().contains("bad.mmdb"), "{error}");
}

/// A database without a description, which the library's own check would refuse.
fn bare() -> Vec<u8> {
    let mut writer = Writer::new("Test");
    writer.insert_value("192.0.2.0/24".parse::<IpNet>().unwrap(), network(64512_u32, "One")).unwrap();
    writer.to_bytes().unwrap()
}

#[test]
fn a_database_without_a_description_is_taken() {
    let shelf = Shelf::new();
    let db = load(&[shelf.put_bytes("bare.mmdb", &bare())]);
    assert_eq!(db.lookup(ip("192.0.2.1")).unwrap().core.asn, 64512);
}

#[test]
fn a_search_tree_that_goes_in_circles_is_refused() {
    let mut bytes = bare();
    // Both branches of every node lead back to the first one; the separator's sixteen zeros end the tree.
    let tree = bytes.windows(16).position(|window| window == [0; 16]).unwrap();
    bytes[..tree].fill(0);
    let error = refusal(Shelf::new().put_bytes("circle.mmdb", &bytes)).to_string();
    assert!(error.contains("circle.mmdb") && error.contains("circles"), "{error}");
}

#[test]
fn no_damage_makes_it_panic() {
    let described = database(
        IpVersion::V6,
        &[
            ("192.0.2.0/24", nested("Lyon", "FR", 45.7, 4.8, 20)),
            ("198.51.100.0/24", network(64512_u32, "One")),
            ("2001:db8::/32", nested("Oslo", "NO", 59.9, 10.7, 20)),
        ],
    );
    let bare = bare();
    let shelf = Shelf::new();
    let places = (0..described.len()).map(|at| (&described, at)).chain((0..bare.len()).map(|at| (&bare, at)));
    for (original, at) in places {
        let mut bytes = original.clone();
        bytes[at] ^= [0xff, 0x01, 0x80, 0x20][at % 4];
        let path = shelf.put_bytes("damaged.mmdb", &bytes);
        if let Ok(db) = GeoDb::load(&[path], false) {
            for address in ["192.0.2.1", "198.51.100.1", "2001:db8::1", "0.0.0.0", "ffff::"] {
                db.lookup(ip(address));
            }
        }
    }
}
