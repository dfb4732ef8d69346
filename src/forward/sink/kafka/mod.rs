//! Kafka: each event a message of a topic, in the partition that its subject decides, so that the events of a subject stay in
//! order for whoever reads.
//!
//! A batch counts as sent when every replica in sync has it (`acks = all`). There is one connection to each broker that
//! leads a partition, and over each one question at a time, so nothing overtakes anything.
//!
//! The protocol is spoken here, and not by a client library, because of what such a library decides by itself:
//! - Every address must be checked when it is connected to, also those that the cluster names itself; TLS must be ours, with
//!   our certificates. `rskafka` has no place to put a connection of one's own.
//! - Whether and when to try again is decided in `sender`, once for all sinks.
//! - Answers must be bounded. `kafka-protocol`, which has messages alone, sets memory aside for as many items as a list in an
//!   answer announces, before it looks whether they are there: four bytes of garbage would end the process. What is needed
//!   of the protocol is little; the tests have `kafka-protocol` read what is written here, and write what is read.
//!
//! Batches are not compressed: a compressor would be a dependency for this alone.
//!
//! Here are the settings. `producer` sends, a `produce_request` to each broker: `partition_queues` keeps the order, `cluster_metadata` knows who leads, `partition` chooses, `record`
//! writes batches. `connect` and `sasl` (with `scram`) lead to a broker, `connection` is one to a broker, `messages` (of `bytes`) what
//! is said over it, `error_code` what errors mean.

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
mod record;
mod sasl;
mod scram;
#[cfg(test)]
mod tests;

use serde::Deserialize;

use self::{
    connect::BrokerConnector,
    producer::{Plan, Producer},
    sasl::{Credentials, Mechanism},
};
use super::{KindSettings, Sink};
use crate::{
    domain::event::Event,
    forward::{
        Common, Guard, Secret, SinkContext,
        format::Format,
        reach::{Route, Trust, server_name},
    },
};

/// Where brokers listen unless they are told otherwise.
const PORT: u16 = 9092;
/// The longest name of a topic (Kafka's `Topic.MAX_NAME_LENGTH`).
const MOST_TOPIC: usize = 249;
/// The longest `client_id` and `username`.
const MOST_NAME: usize = 255;
const MOST_BROKERS: usize = 100;

/// What decides the partition of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Key {
    /// Its subject: the events of one stay in order.
    #[default]
    Subject,
    /// Its id: they are spread evenly, in no order.
    Id,
}

impl Key {
    fn of(self, event: &Event) -> Option<Vec<u8>> {
        match self {
            Self::Subject => event.subject.as_ref().map(|subject| subject.as_str().into()),
            Self::Id => Some(event.id.clone().into_bytes()),
        }
    }
}

/// `type = "kafka"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host`, `host:port`, `[IPv6]:port`: where the cluster is asked for.
    brokers: Vec<String>,
    topic: String,
    #[serde(default)]
    key: Key,
    #[serde(default = "yes")]
    tls: bool,
    /// The name that must be in the brokers' certificates, if it is not the host by which each goes.
    server_name: Option<String>,
    sasl: Option<Mechanism>,
    username: Option<String>,
    password: Option<Secret>,
    client_id: Option<String>,
}

fn yes() -> bool {
    true
}

type Wrong = (&'static str, String);

impl KindSettings for Kafka {
    fn check(&self, common: &Common) -> Result<(), Wrong> {
        for route in self.routes(common)? {
            route.check().map_err(|why| ("brokers", why))?;
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_topic = (1..=MOST_TOPIC).contains(&self.topic.len()) && self.topic.chars().all(plain);
        if !is_topic || matches!(self.topic.as_str(), "." | "..") {
            return Err(("topic", format!("must be 1 to {MOST_TOPIC} letters, digits, '.', '_' or '-'")));
        }
        if self.client_id.as_ref().is_some_and(|id| !is_name(id) || !id.is_ascii()) {
            return Err(("client_id", format!("must be 1 to {MOST_NAME} printable ASCII characters")));
        }
        self.check_tls(common)?;
        self.check_sasl()
    }

    fn open(&self, common: &Common, _context: &SinkContext) -> Result<Box<dyn Sink>, Wrong> {
        let bootstrap = self.routes(common)?.into_iter().map(|route| (route.host, route.port)).collect();
        let connector = BrokerConnector {
            guard: self.guard(common),
            trust: self.tls.then(|| Trust::open("tls", common)).transpose()?,
            server_name: self.server_name.clone(),
            credentials: self.credentials()?,
            client: self.client_id.clone().unwrap_or_else(|| "keyward".to_owned()),
            // An attempt is several questions.
            limit: common.timeout * 2 / 3,
        };
        let format = common.format.unwrap_or(Format::Json);
        let plan = Plan { topic: self.topic.clone(), key: self.key, format, limit: common.timeout };
        Ok(Box::new(Producer::new(connector, bootstrap, plan)))
    }

    /// An answer for each batch, after all replicas have it: better many events for one.
    fn batch(&self) -> usize {
        500
    }
}

impl Kafka {
    fn guard(&self, common: &Common) -> Guard {
        Guard { networks: common.allow_networks.clone(), plaintext: !self.tls }
    }

    fn routes(&self, common: &Common) -> Result<Vec<Route>, Wrong> {
        if !(1..=MOST_BROKERS).contains(&self.brokers.len()) {
            return Err(("brokers", format!("must be 1 to {MOST_BROKERS} of host or host:port")));
        }
        let route = |text: &String| Route::parse("brokers", text, PORT, self.guard(common));
        self.brokers.iter().map(route).collect()
    }

    fn check_tls(&self, common: &Common) -> Result<(), Wrong> {
        if self.tls {
            return self.server_name.as_deref().map_or(Ok(()), |name| server_name(name).map(drop));
        }
        for (setting, is_set) in [
            ("server_name", self.server_name.is_some()),
            ("ca_file", common.ca_file.is_some()),
            ("client_certificate_file", common.client_certificate_file.is_some()),
        ] {
            if is_set {
                return Err((setting, "is for tls = true".to_owned()));
            }
        }
        if common.allow_networks.is_empty() {
            let hint = "must be true: events, and passwords, go in the clear only to networks that allow_networks names";
            return Err(("tls", hint.to_owned()));
        }
        Ok(())
    }

    fn check_sasl(&self) -> Result<(), Wrong> {
        let own = [("username", self.username.is_some()), ("password", self.password.is_some())];
        for (setting, is_set) in own {
            match (self.sasl, is_set) {
                (Some(_), false) => return Err((setting, "must be set for sasl".to_owned())),
                (None, true) => {
                    let hint = "is for sasl = \"scram-sha-512\", \"scram-sha-256\" or \"plain\"";
                    return Err((setting, hint.to_owned()));
                }
                _ => {}
            }
        }
        if self.username.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(("username", format!("must be 1 to {MOST_NAME} bytes without control characters")));
        }
        Ok(())
    }

    fn credentials(&self) -> Result<Option<Credentials>, Wrong> {
        let (Some(mechanism), Some(username), Some(password)) = (self.sasl, &self.username, &self.password)
        else {
            return Ok(None);
        };
        let password = password.read().map_err(|hint| ("password", hint))?;
        if password.contains('\0') {
            return Err(("password", "must not hold a zero byte".to_owned()));
        }
        Ok(Some(Credentials { mechanism, username: username.clone(), password }))
    }
}

fn is_name(text: &str) -> bool {
    (1..=MOST_NAME).contains(&text.len()) && !text.contains(char::is_control)
}
