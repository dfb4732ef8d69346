//! How Keyward is put on machines: the unit of systemd, the manifests of Kubernetes and the package of Debian in
//! `deploy/` and `Cargo.toml`, held against the programs that read them and the binary that they start.
//! `scripts/manifests` provides those programs.

mod kubernetes;
mod package;
#[cfg(target_os = "linux")]
mod systemd;

use std::path::{Path, PathBuf};

use keyward::config::{Config, Sources};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// The settings that a file makes, read as the service reads them: one that is unknown or wrong fails.
fn settings(file: PathBuf, environment: &[(&str, &str)]) -> Config {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sources = Sources { file: Some(file), environment: environment.collect(), ..Sources::default() };
    Config::load(&sources).unwrap_or_else(|error| panic!("{error}"))
}
