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
fn a_search_tree_that_cannot_be_walked_is_refused() {
    let mut writer = Writer::builder("Test").ip_version(IpVersion::V4).build();
    writer.insert_value("192.0.2.1/32".parse::<IpNet>().unwrap(), network(64512_u32, "One")).unwrap();
    let original = writer.to_bytes().unwrap();
    let nodes = maxminddb::Reader::from_source(&original).unwrap().metadata().node_count;
    let rewired = |child: fn(u32) -> u32| {
        let mut bytes = original.clone();
        for node in 0..nodes {
            let [_, record @ ..] = child(node).to_be_bytes();
            let at = node as usize * 6;
            bytes[at..at + 3].copy_from_slice(&record);
            bytes[at + 3..at + 6].copy_from_slice(&record);
        }
        refusal(Shelf::new().put_bytes("tree.mmdb", &bytes)).to_string()
    };
    let circle = rewired(|_| 0);
    assert!(circle.contains("tree.mmdb") && circle.contains("cycle"), "{circle}");
    // Both branches of each node lead to the next one: 2^32 ways to the end, and no data at any.
    let ladder = rewired(|node| node + 1);
    assert!(ladder.contains("tree.mmdb") && ladder.contains("more leaves"), "{ladder}");
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
