//! The package of Debian, as `Cargo.toml` describes it.

use super::{path, read};

/// Files of the package: where each is here, and where it is put.
fn assets(metadata: &toml::Value) -> Vec<(String, String)> {
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let assets = metadata["assets"].as_array().unwrap();
    assets.iter().map(|asset| (text(&asset[0]), text(&asset[1]))).collect()
}

#[test]
fn the_package_has_the_files_that_it_names_and_the_unit_finds_them_where_they_are_put() {
    let manifest: toml::Value = toml::from_str(&read("Cargo.toml")).unwrap();
    let metadata = &manifest["package"]["metadata"]["deb"];
    let assets = assets(metadata);
    for (source, _) in assets.iter().filter(|(source, _)| !source.starts_with("target/")) {
        assert!(path(source).is_file(), "{source}");
    }
    let put = |place: &str| assets.iter().any(|(_, to)| format!("/{to}") == place);
    for place in metadata["conf-files"].as_array().unwrap() {
        assert!(put(place.as_str().unwrap()), "{place}");
    }
    let unit = read("deploy/systemd/keyward.service");
    let places = ["/usr/bin/keyward", "/etc/keyward/keyward.toml", "/usr/share/doc/keyward/operations.md"];
    for place in places {
        assert!(unit.contains(place) && put(place), "{place}");
    }
    let settings = read("deploy/systemd/keyward.toml");
    assert!(
        settings.contains("/usr/share/doc/keyward/default.toml")
            && put("/usr/share/doc/keyward/default.toml")
    );
}
