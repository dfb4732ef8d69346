//! Whatever is in a geo database, loading it is refused with words or every address in it can be looked up: neither
//! panics, and a place has coordinates on this earth.
#![no_main]

use std::{net::IpAddr, path::PathBuf, sync::LazyLock};

use keyward::geo::GeoDb;
use libfuzzer_sys::fuzz_target;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("keyward-fuzz-{}.mmdb", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).expect("room for a file");
    let database = match GeoDb::load(std::slice::from_ref(&*FILE), false) {
        Ok(database) => database,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    // Some addresses that every database of interest knows, and some made of the input.
    let tail: [u8; 16] = std::array::from_fn(|n| bytes.len().checked_sub(n + 1).map_or(0, |at| bytes[at]));
    let made = [IpAddr::from(tail), IpAddr::from([tail[0], tail[1], tail[2], tail[3]])];
    let known = ["1.1.1.1", "203.0.113.7", "::", "2001:db8::1"].map(|text| text.parse().expect("an address"));
    for address in made.into_iter().chain(known) {
        let Some(at) = database.lookup(address).and_then(|place| place.core.coordinates) else { continue };
        assert!(at.latitude.abs() <= 90.0 && at.longitude.abs() <= 180.0, "{at:?}");
    }
});
