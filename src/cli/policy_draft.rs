//! A policy as it is written on the command line: that in force with settings changed, or a whole one from a file.

use std::path::PathBuf;

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};

use super::{
    Failure,
    client::Connection,
    resource::{Field, Place, read_object},
};
use crate::clock;

/// Another policy.
#[derive(Debug, Args)]
pub(super) struct Draft {
    /// What is set, as `show` prints it, such as detectors.traffic_burst.mode=shadow.
    #[arg(value_name = "SETTING=VALUE", required_unless_present = "file", value_parser = Field::read)]
    fields: Vec<Field>,
    /// A JSON object that takes the place of the whole, as `show --json` prints it; - is standard input. `set` refuses
    /// a version that is not in force.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Draft {
    /// The whole document, with the version that it was made of where that is known.
    ///
    /// # Errors
    /// The file cannot be read, a setting is not there, or no service answers.
    pub(super) async fn document(&self, service: &Connection) -> Result<Map<String, Value>, Failure> {
        let mut document = match &self.file {
            Some(file) => read_object(file)?,
            None => match in_force(service).await? {
                Value::Object(policy) => policy,
                _ => Map::new(),
            },
        };
        let now = clock::wall();
        self.fields.iter().try_for_each(|field| field.put(&mut document, Place::Present, now))?;
        Ok(document)
    }
}

/// The policy in force.
///
/// # Errors
/// No service answers, or it refuses.
pub(super) async fn in_force(service: &Connection) -> Result<Value, Failure> {
    service.json(service.request(Method::GET, &["v1", "policy"])).await
}
