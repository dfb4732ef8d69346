//! `keyward key`: keys that are registered, and keys of Keyward's own.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure, block_on,
    client::Service,
    duration,
    output::line,
    resource::{Act, Field, KEY, Place, print},
};
use crate::clock;

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    #[command(flatten)]
    Act(Act),
    /// Issue a key of Keyward's own. The first line is its secret, which is shown this once.
    Issue(Issue),
    /// Issue another key in the place of one.
    Rotate(Rotate),
}

/// Issue a key of the gateway's own.
#[derive(Debug, Args)]
pub(super) struct Issue {
    /// What is registered of it, as of `set`.
    #[arg(value_name = "FIELD=VALUE", value_parser = Field::read)]
    fields: Vec<Field>,
    #[command(flatten)]
    service: Service,
}

/// Issue a key in the place of one.
#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The public id of the key that it takes the place of.
    key_id: String,
    /// How long the former key stays good, such as 1h; without it, not at all.
    #[arg(long, value_name = "LENGTH", value_parser = duration::seconds)]
    overlap: Option<u64>,
    #[command(flatten)]
    service: Service,
}

impl Key {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Act(act) => act.run(&KEY),
            Self::Issue(Issue { fields, service }) => {
                let (mut body, now) = (Map::new(), clock::wall());
                fields.iter().try_for_each(|field| field.put(&mut body, Place::Any, now))?;
                issue(&service, &["v1", "keys"], &body.into())
            }
            Self::Rotate(Rotate { key_id, overlap, service }) => {
                let body = json!({ "overlap_seconds": overlap.unwrap_or(0) });
                issue(&service, &["v1", "keys", &key_id, "rotate"], &body)
            }
        }
    }
}

/// Asks for a key, and prints its secret before the rest.
fn issue(service: &Service, path: &[&str], body: &Value) -> Result<(), Failure> {
    let connection = service.connect()?;
    let mut key = block_on(connection.json(connection.request(Method::POST, path).json(body)))?;
    if let Some(secret) = key["secret"].as_str().filter(|_| !service.json) {
        line(&format!("{}\n", super::output::plain(secret)))?;
        key.as_object_mut().map(|key| key.remove("secret"));
    }
    print(&key, service.json)
}
