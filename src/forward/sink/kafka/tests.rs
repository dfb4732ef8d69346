//! Settings: what is wrong with them is said by name, and secrets are not said at all.

use std::sync::Arc;

use super::*;
use crate::{
    forward::SinkSettings,
    store::embedded::{EmbeddedOptions, EmbeddedStore},
};

fn settings(more: &str) -> Result<SinkSettings, String> {
    let text = format!("name = \"siem\"\ntype = \"kafka\"\n{more}");
    SinkSettings::read(toml::from_str(&text).unwrap()).map_err(|error| error.to_string())
}

const PRIVATE: &str = "allow_networks = [\"10.0.0.0/8\"]\n";
const LEAST: &str = "brokers = [\"kafka.example:9093\"]\ntopic = \"keyward.events\"\n";
const LOGIN: &str = "username = \"keyward\"\npassword = \"env:KAFKA_PASSWORD\"\n";

#[test]
fn what_is_enough_is_taken() {
    for more in [
        String::new(),
        "key = \"id\"\nserver_name = \"kafka.example\"\nclient_id = \"keyward-1\"\nformat = \"leef\""
            .to_owned(),
        format!("sasl = \"plain\"\n{LOGIN}"),
        format!("sasl = \"scram-sha-256\"\n{LOGIN}"),
        format!("sasl = \"scram-sha-512\"\ntls = false\n{LOGIN}{PRIVATE}"),
        "ca_file = \"/ca.pem\"\nclient_certificate_file = \"/c.pem\"\nclient_key_file = \"/c.key\""
            .to_owned(),
    ] {
        settings(&format!("{LEAST}{more}")).unwrap();
    }
}

#[test]
fn what_is_wrong_is_said_by_name() {
    let with = |more: &str| format!("{LEAST}{more}");
    let at = |brokers: &str, more: &str| format!("brokers = [{brokers}]\ntopic = \"t\"\n{more}");
    let about = |topic: &str| format!("brokers = [\"kafka.example\"]\ntopic = \"{topic}\"\n");
    for (wrong, setting) in [
        ("topic = \"t\"".to_owned(), "sinks.siem"),
        (at("", ""), "sinks.siem.brokers"),
        (at("\"kafka.example:x\"", ""), "sinks.siem.brokers"),
        (at("\"kafka://kafka.example\"", ""), "sinks.siem.brokers"),
        (at("\"kafka.example\", \"127.0.0.1:9092\"", ""), "sinks.siem.brokers"),
        (at("\"8.8.8.8\"", &format!("tls = false\n{PRIVATE}")), "sinks.siem.brokers"),
        (about(""), "sinks.siem.topic"),
        (about("a b"), "sinks.siem.topic"),
        (about(".."), "sinks.siem.topic"),
        (about(&"t".repeat(250)), "sinks.siem.topic"),
        (with("tls = false"), "sinks.siem.tls"),
        (with(&format!("tls = false\nsasl = \"plain\"\n{LOGIN}")), "sinks.siem.tls"),
        (with(&format!("tls = false\nca_file = \"/ca.pem\"\n{PRIVATE}")), "sinks.siem.ca_file"),
        (with(&format!("tls = false\nserver_name = \"a\"\n{PRIVATE}")), "sinks.siem.server_name"),
        (with("server_name = \"a b\""), "sinks.siem.server_name"),
        (with("sasl = \"gssapi\""), "sinks.siem.sasl"),
        (with("sasl = \"plain\"\nusername = \"keyward\""), "sinks.siem.password"),
        (with("sasl = \"plain\"\npassword = \"env:P\""), "sinks.siem.username"),
        (with(LOGIN), "sinks.siem.username"),
        (with("sasl = \"plain\"\nusername = \"\"\npassword = \"env:P\""), "sinks.siem.username"),
        (with("client_id = \"\""), "sinks.siem.client_id"),
        (with("key = \"source_ip\""), "sinks.siem.key"),
        (with("acks = 1"), "sinks.siem.acks"),
    ] {
        let error = settings(&wrong).unwrap_err();
        assert!(error.starts_with(setting), "{wrong}: {error}");
    }
}

#[test]
fn a_password_is_never_in_the_settings_and_never_shown() {
    let error =
        settings(&format!("{LEAST}sasl = \"plain\"\nusername = \"u\"\npassword = \"hunter2\"")).unwrap_err();
    assert!(error.contains("env:<NAME>") && !error.contains("hunter2"), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let login =
        format!("sasl = \"plain\"\nusername = \"u\"\npassword = \"file:{}\"\n", file.path().display());
    let sink = settings(&format!("{LEAST}{login}")).unwrap();
    let context = SinkContext {
        store: Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap()),
        now: Arc::new(|| 0),
        log_event: Arc::new(|_| {}),
        replace_key: None,
        log_changes: None,
        instance: "i-1".to_owned(),
    };
    for (password, is_fine) in [("hunter2", true), ("hunter\0", false), ("", false)] {
        std::fs::write(file.path(), password).unwrap();
        let probed = sink.probe(&context).map_err(|error| error.to_string());
        assert_eq!(probed.is_ok(), is_fine, "{probed:?}");
        let error = format!("{probed:?}{sink:?}{}", toml::to_string(&sink.masked()).unwrap());
        assert!(!error.contains("hunter"), "{error}");
    }
}
