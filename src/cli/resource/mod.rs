//! `keyward allow|plan|project|key list|show|set|delete`: what operators keep in a running service. One table says how
//! the kinds differ; `fields` reads what is set, `shown` is how people see it.

mod fields;
mod shown;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

use super::{
    Failure, block_on,
    client::{Connection, Service},
    code,
    output::{line, plain},
};
use crate::clock;

pub(super) use fields::{Field, Place};
pub(super) use shown::{Columns, flat};

/// A kind of thing that operators keep.
#[derive(Debug)]
pub(super) struct Kind {
    /// What one of them is called.
    pub(super) one: &'static str,
    /// The route of all of them, behind `/v1/`.
    pub(super) route: &'static str,
    /// Whether a part of one can be changed; else it is always put as a whole.
    pub(super) takes_patches: bool,
    /// Whether a list comes in pages.
    pub(super) in_pages: bool,
    /// What a list shows of each.
    pub(super) columns: &'static [&'static str],
}

/// Exceptions that detectors leave alone.
pub(super) const ALLOW: Kind = Kind {
    one: "allowlist entry",
    route: "allowlist",
    takes_patches: false,
    in_pages: true,
    columns: &["entry", "expires", "reason"],
};
/// Limits that keys have by name.
pub(super) const PLAN: Kind = Kind {
    one: "plan",
    route: "plans",
    takes_patches: true,
    in_pages: true,
    columns: &["name", "source", "limits"],
};
/// Owners of keys, with budgets.
pub(super) const PROJECT: Kind = Kind {
    one: "project",
    route: "projects",
    takes_patches: true,
    in_pages: true,
    columns: &["id", "plan", "priority", "budget_usd", "owner", "limits"],
};
/// Keys that are registered.
pub(super) const KEY: Kind = Kind {
    one: "key",
    route: "keys",
    takes_patches: true,
    in_pages: true,
    columns: &["key_id", "project", "plan", "budget_usd", "expires", "label"],
};

/// What is done with things of a kind.
#[derive(Debug, Subcommand)]
pub(super) enum Act {
    /// List all of them, newest first.
    List(List),
    /// Show one of them.
    Show(Show),
    /// Make one, or change what is named of it.
    Set(Set),
    /// Delete the one of that name.
    Delete(Delete),
}

/// List all there are.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    service: Service,
}

/// Show the one of that name.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Its name or id.
    name: String,
    #[command(flatten)]
    service: Service,
}

/// Make or change one.
#[derive(Debug, Args)]
pub(super) struct Set {
    /// Its name or id.
    name: String,
    /// What is set, as `show` prints it; null takes it away. A value is JSON, or else text. For `expires`, also a
    /// length from now such as 30d.
    #[arg(value_name = "FIELD=VALUE", required_unless_present = "file", value_parser = Field::read)]
    fields: Vec<Field>,
    /// A JSON object that takes the place of the whole; - is standard input. Fields are laid over it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    service: Service,
}

/// Delete the one of that name.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// Its name or id.
    name: String,
    #[command(flatten)]
    service: Service,
}

impl Act {
    pub(super) fn run(self, kind: &Kind) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(kind),
            Self::Show(show) => {
                let service = show.service.connect()?;
                let request = service.request(Method::GET, &["v1", kind.route, &show.name]);
                print(&block_on(service.json(request))?, show.service.json)
            }
            Self::Set(set) => {
                let service = set.service.connect()?;
                print(&block_on(set.ask(kind, &service))?, set.service.json)
            }
            Self::Delete(delete) => delete.run(kind),
        }
    }
}

impl List {
    pub(super) fn run(self, kind: &Kind) -> Result<(), Failure> {
        block_on(self.pages(kind))
    }

    async fn pages(&self, kind: &Kind) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let columns = Columns(kind.columns);
        let mut is_first = true;
        let query: &[(&str, &str)] = if kind.in_pages { &[("limit", "1000")] } else { &[] };
        service
            .each_page(&["v1", kind.route], query, |items| {
                if self.service.json {
                    return items.iter().try_for_each(|item| Ok(line(&item.to_string())?));
                }
                let lines = columns.lines(items, std::mem::take(&mut is_first));
                lines.iter().try_for_each(|text| Ok(line(text)?))
            })
            .await
    }
}

impl Set {
    async fn ask(&self, kind: &Kind, service: &Connection) -> Result<Value, Failure> {
        let mut body = self.file.as_deref().map_or_else(|| Ok(Map::new()), read_object)?;
        let now = clock::wall();
        self.fields.iter().try_for_each(|field| field.put(&mut body, Place::Any, now))?;
        let path = ["v1", kind.route, &self.name];
        if kind.takes_patches && self.file.is_none() {
            let changed = service.json(service.request(Method::PATCH, &path).json(&body)).await;
            if changed.as_ref().err().is_none_or(|failure| failure.code() != code::NO_INPUT) {
                return changed;
            }
            // A new one has nothing that could be taken away.
            body.retain(|_, value| !value.is_null());
        }
        service.json(service.request(Method::PUT, &path).json(&body)).await
    }
}

impl Delete {
    pub(super) fn run(self, kind: &Kind) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let request = service.request(Method::DELETE, &["v1", kind.route, &self.name]);
        block_on(service.done(request))?;
        Ok(line(&if self.service.json {
            serde_json::json!({ "deleted": self.name }).to_string()
        } else {
            format!("{} {} deleted", kind.one, plain(&self.name))
        })?)
    }
}

/// Prints one thing: a line for each field, or JSON as it came.
pub(super) fn print(value: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(line(&value.to_string())?);
    }
    flat(value).iter().try_for_each(|(name, value)| Ok(line(&format!("{name}={value}"))?))
}

/// A JSON object from a file; `-` is standard input.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, Failure> {
    let read = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).map_err(|error| Failure::io("standard input", &error))
    } else {
        std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))
    };
    serde_json::from_str(&read?)
        .map_err(|error| Failure::new(code::DATA, format!("{} is no JSON object: {error}", path.display())))
}
