//! Databases that change under way.

use std::{
    fs::File,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use super::*;
use crate::{
    geo::{DEMO, Geo, GeoState},
    watch::Reload,
};

/// Sets the time of the last change, since two writes of a test may fall into one tick of the file system.
fn touched(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

fn lyon() -> Vec<u8> {
    database(IpVersion::V6, &[("192.0.2.0/24", nested("Lyon", "FR", 45.7, 4.8, 20))])
}

fn oslo() -> Vec<u8> {
    database(IpVersion::V6, &[("192.0.2.0/24", nested("Oslo", "NO", 59.9, 10.7, 20))])
}

#[test]
fn a_changed_file_is_taken_up_and_old_answers_forgotten() {
    let shelf = Shelf::new();
    let path = shelf.put_bytes("city.mmdb", &lyon());
    touched(&path, 1);
    let geo = Geo::open(std::slice::from_ref(&path), true).unwrap();
    assert_eq!(city(&geo.lookup(ip("192.0.2.1")).unwrap()), "Lyon");
    assert_eq!(geo.lookup(ip("198.51.100.1")), None);
    assert_eq!(geo.reload_if_changed(0), Reload::Unchanged);

    shelf.put_bytes("city.mmdb", &oslo());
    touched(&path, 2);
    assert_eq!(geo.reload_if_changed(0), Reload::Reloaded);
    assert_eq!(city(&geo.lookup(ip("192.0.2.1")).unwrap()), "Oslo");
    assert_eq!(geo.reload_if_changed(0), Reload::Unchanged);
}

#[test]
fn a_bad_new_file_leaves_the_old_one_in_force_until_it_is_mended() {
    let shelf = Shelf::new();
    let path = shelf.put_bytes("city.mmdb", &lyon());
    touched(&path, 1);
    let geo = Geo::open(std::slice::from_ref(&path), true).unwrap();
    assert_eq!(geo.status().state, GeoState::Ready);

    shelf.put_bytes("city.mmdb", b"half");
    touched(&path, 2);
    assert_eq!(geo.reload_if_changed(0), Reload::Failed);
    assert_eq!(geo.reload_if_changed(0), Reload::Unchanged, "the same bad file is not tried again");
    assert_eq!(city(&geo.lookup(ip("192.0.2.1")).unwrap()), "Lyon");
    let GeoState::Stale { error } = geo.status().state else { panic!("not stale") };
    assert!(error.contains("city.mmdb"), "{error}");

    shelf.put_bytes("city.mmdb", &oslo());
    touched(&path, 3);
    assert_eq!(geo.reload_if_changed(0), Reload::Reloaded);
    assert_eq!(geo.status().state, GeoState::Ready);
    assert_eq!(city(&geo.lookup(ip("192.0.2.1")).unwrap()), "Oslo");
}

#[test]
fn a_file_that_goes_away_and_comes_back_is_no_longer_an_error() {
    let shelf = Shelf::new();
    let path = shelf.put_bytes("city.mmdb", &lyon());
    touched(&path, 1);
    let geo = Geo::open(std::slice::from_ref(&path), true).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(geo.reload_if_changed(0), Reload::Failed);
    shelf.put_bytes("city.mmdb", &lyon());
    touched(&path, 1);
    assert_eq!(geo.reload_if_changed(0), Reload::Unchanged);
    assert_eq!(geo.status().state, GeoState::Ready);
}

#[test]
fn without_files_the_demo_answers_or_nothing_does() {
    let demo = Geo::open(&[], true).unwrap();
    assert_eq!(demo.status().state, GeoState::Demo);
    assert_eq!(demo.place_core(ip("203.0.113.7")).country_code(), Some("SG"));

    for off in [Geo::open(&[], false).unwrap(), Geo::off()] {
        assert_eq!(off.status().state, GeoState::Off);
        let core = off.place_core(ip("203.0.113.7"));
        assert_eq!(core, crate::domain::place::PlaceCore::unknown(ip("203.0.113.7")));
        assert_eq!(off.reload_if_changed(0), Reload::Unchanged);
    }
}

#[test]
fn the_status_reads_well_as_json() {
    let shelf = Shelf::new();
    let path = shelf.put_bytes("my.mmdb", DEMO);
    let geo = Geo::open(&[path], false).unwrap();
    let status = serde_json::to_value(geo.status()).unwrap();
    assert_eq!(status["state"], "ready");
    assert_eq!(status["files"][0]["name"], "my.mmdb");
    assert_eq!(status["files"][0]["type"], "Keyward-Demo");
    assert_eq!(status["files"][0]["build_time"], "2026-01-01T00:00:00.000Z");
    assert_eq!(status["files"][0]["gives"], serde_json::json!(["coordinates", "country", "asn"]));
}

#[test]
fn the_age_of_each_kind_of_database_is_reported_and_taken_back_when_it_goes() {
    let written = |kind: &str, built: u64| {
        let epoch = UNIX_EPOCH + Duration::from_secs(built);
        let mut writer = mmdb_writer::Writer::builder(kind).build_epoch(epoch).build();
        let record = nested("Lyon", "FR", 45.7, 4.8, 20);
        writer.insert_value("192.0.2.0/24".parse::<IpNet>().unwrap(), record).unwrap();
        writer.to_bytes().unwrap()
    };
    let shelf = Shelf::new();
    let first = shelf.put_bytes("1.mmdb", &written("A-City", 1_000_000));
    let second = shelf.put_bytes("2.mmdb", &written("A-City", 2_000_000));
    touched(&second, 1);
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let reported = |kind: &str| {
        let series = format!("keyward_geo_database_build_timestamp_seconds{{database=\"{kind}\"}} ");
        let text = recorder.handle().render();
        text.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned))
    };
    metrics::with_local_recorder(&recorder, || {
        Geo::open(&[], true).unwrap();
        assert_eq!(recorder.handle().render(), "", "the demo database has no age");
        let geo = Geo::open(&[first.clone(), second.clone()], true).unwrap();
        assert_eq!(reported("A-City").as_deref(), Some("1000000"), "the older of two of a kind");
        shelf.put_bytes("1.mmdb", &written("B-City", 3_000_000));
        shelf.put_bytes("2.mmdb", &written("B-City", 4_000_000));
        touched(&second, 2);
        assert_eq!(geo.reload_if_changed(0), Reload::Reloaded);
        assert_eq!(
            (reported("A-City").as_deref(), reported("B-City").as_deref()),
            (Some("NaN"), Some("3000000"))
        );
    });
}
