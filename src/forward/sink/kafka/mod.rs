//! Kafka: each event a message of a topic, in the partition that its subject decides, so that the events of a subject
//! stay in order for whoever reads.
//!
//! A batch counts as sent when every replica in sync has it (`acks = all`). There is one connection to each broker that
//! leads a partition, and over each one question at a time, so nothing overtakes anything.
//!
//! The protocol is spoken here, and not by a client library, because of what such a library decides by itself:
//! - Every address must be checked when it is connected to, also those that the cluster names itself; TLS must be
//!   ours, with our certificates. `rskafka` has no place to put a connection of one's own.
//! - Whether and when to try again is decided in `sender`, once for all sinks.
//! - Answers must be bounded. `kafka-protocol`, which has messages alone, sets memory aside for as many items as a
//!   list in an answer announces, before it looks whether they are there: four bytes of garbage would end the process.
//!   What is needed of the protocol is little; the tests have `kafka-protocol` read what is written here, and write
//!   what is read.
//!
//! Batches are not compressed: a compressor would be a dependency for this alone.
//!
//! Here are the settings. `producer` sends a `produce_request` to each broker. `partition_queues` keeps the order and
//! `progress` what became of each event, `cluster_metadata` knows who leads, `partition` chooses, `record` writes
//! batches. `connect` and `sasl` (with `scram`) lead to a broker, `connection` is one, `messages` (of `bytes`) what is
//! said over it, `error_code` what errors mean.

mod bytes;
mod cluster_metadata;
mod connect;
mod connection;
mod error_code;
mod messages;
mod partition;
mod partition_queues;
mod produce_request;
mod producer;
mod progress;
mod record;
mod sasl;
mod scram;
#[cfg(test)]
mod tests;

use serde::Deserialize;

use self::{
    connect::BrokerConnector,
    partition::PartitionKey,
    producer::{Producer, ProducerConfig},
    sasl::{Credentials, SaslMechanism},
};
use crate::{
    forward::{
        common::CommonSettings,
        context::SinkContext,
        contract::{KindSettings, Sink},
        format::Format,
        secret::Secret,
    },
    outbound::{AddressGuard, Endpoint, TlsContext, server_name},
    settings::{SettingError, SettingErrors},
};

/// The port where brokers listen unless they are told otherwise.
const PORT: u16 = 9092;
/// The longest name of a topic, in bytes (Kafka's `Topic.MAX_NAME_LENGTH`).
const MAX_TOPIC: usize = 249;
/// The longest `client_id` and `username`, in bytes.
const MAX_NAME: usize = 255;
/// Most brokers that the settings may name.
const MAX_BROKERS: usize = 100;

/// The own settings of a sink with `type = "kafka"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kafka {
    /// Where the cluster is asked for: `host`, `host:port`, `[IPv6]:port`.
    brokers: Vec<String>,
    topic: String,
    #[serde(default)]
    key: PartitionKey,
    #[serde(default = "yes")]
    tls: bool,
    /// The name that must be in the brokers' certificates, if it is not the host by which each goes.
    server_name: Option<String>,
    sasl: Option<SaslMechanism>,
    username: Option<String>,
    password: Option<Secret>,
    client_id: Option<String>,
}

fn yes() -> bool {
    true
}

impl KindSettings for Kafka {
    fn check(&self, common: &CommonSettings, errors: &mut SettingErrors) {
        if let Some(endpoints) = errors.take(self.endpoints(common)) {
            endpoints.iter().for_each(|endpoint| errors.check(endpoint.check("brokers")));
        }
        errors.check(self.check_names());
        errors.check(self.check_tls(common));
        errors.check(self.check_sasl());
    }

    fn open(&self, common: &CommonSettings, _context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        let endpoints = self.endpoints(common)?.into_iter();
        let bootstrap = endpoints.map(|endpoint| (endpoint.host, endpoint.port)).collect();
        let connector = BrokerConnector {
            guard: self.guard(common),
            tls: self.tls.then(|| TlsContext::new("tls", &common.outbound)).transpose()?,
            server_name: self.server_name.clone(),
            credentials: self.credentials()?,
            client_id: self.client_id.clone().unwrap_or_else(|| "keyward".to_owned()),
            // An attempt is several requests.
            timeout: common.timeout() * 2 / 3,
        };
        let config = ProducerConfig {
            topic: self.topic.clone(),
            key: self.key,
            format: common.format.unwrap_or(Format::Json),
            timeout: common.timeout(),
        };
        Ok(Box::new(Producer::new(connector, bootstrap, config)))
    }

    /// A response for each batch, after all replicas have it: better many events for one.
    fn batch(&self) -> usize {
        500
    }
}

impl Kafka {
    fn guard(&self, common: &CommonSettings) -> AddressGuard {
        common.outbound.guard(!self.tls)
    }

    fn endpoints(&self, common: &CommonSettings) -> Result<Vec<Endpoint>, SettingError> {
        if !(1..=MAX_BROKERS).contains(&self.brokers.len()) {
            let hint = format!("must be 1 to {MAX_BROKERS} of host or host:port");
            return Err(SettingError::new("brokers", hint));
        }
        let endpoint = |text: &String| Endpoint::parse("brokers", text, PORT, self.guard(common));
        self.brokers.iter().map(endpoint).collect()
    }

    fn check_names(&self) -> Result<(), SettingError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_topic = (1..=MAX_TOPIC).contains(&self.topic.len()) && self.topic.chars().all(plain);
        if !is_topic || matches!(self.topic.as_str(), "." | "..") {
            let hint = format!("must be 1 to {MAX_TOPIC} letters, digits, '.', '_' or '-'");
            return Err(SettingError::new("topic", hint));
        }
        if self.client_id.as_ref().is_some_and(|id| !is_name(id) || !id.is_ascii()) {
            let hint = format!("must be 1 to {MAX_NAME} printable ASCII characters");
            return Err(SettingError::new("client_id", hint));
        }
        Ok(())
    }

    fn check_tls(&self, common: &CommonSettings) -> Result<(), SettingError> {
        if self.tls {
            return self.server_name.as_deref().map_or(Ok(()), |name| server_name(name).map(drop));
        }
        for (setting, is_set) in [
            ("server_name", self.server_name.is_some()),
            ("ca_file", common.outbound.ca_file.is_some()),
            ("client_certificate_file", common.outbound.client_certificate_file.is_some()),
        ] {
            if is_set {
                return Err(SettingError::new(setting, "is for tls = true"));
            }
        }
        if common.outbound.allow_networks.is_empty() {
            let hint = "must be true: events, and passwords, go in the clear only to networks that \
                        allow_networks names";
            return Err(SettingError::new("tls", hint));
        }
        Ok(())
    }

    fn check_sasl(&self) -> Result<(), SettingError> {
        let own = [("username", self.username.is_some()), ("password", self.password.is_some())];
        for (setting, is_set) in own {
            match (self.sasl, is_set) {
                (Some(_), false) => return Err(SettingError::new(setting, "must be set for sasl")),
                (None, true) => {
                    let hint = "is for sasl = \"scram-sha-512\", \"scram-sha-256\" or \"plain\"";
                    return Err(SettingError::new(setting, hint));
                }
                _ => {}
            }
        }
        if self.username.as_deref().is_some_and(|name| !is_name(name)) {
            let hint = format!("must be 1 to {MAX_NAME} bytes without control characters");
            return Err(SettingError::new("username", hint));
        }
        Ok(())
    }

    fn credentials(&self) -> Result<Option<Credentials>, SettingError> {
        let (Some(mechanism), Some(username), Some(password)) = (self.sasl, &self.username, &self.password)
        else {
            return Ok(None);
        };
        let password = password.read("password")?;
        if password.contains('\0') {
            return Err(SettingError::new("password", "must not hold a zero byte"));
        }
        Ok(Some(Credentials { mechanism, username: username.clone(), password }))
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control)
}
