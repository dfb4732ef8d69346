//! `keyward policy`: the policy in force, and another in its place; what that would do is in `policy_preview`.

use clap::{Args, Subcommand};
use reqwest::{Method, header::IF_MATCH};
use serde_json::Value;

use super::{
    Failure, block_on,
    client::{Connection, Service},
    code,
    output::{line, plain},
    policy_draft::{Draft, in_force},
    policy_preview::{Preview, Versions},
    resource::{flat, print},
    status::text,
};

/// What is done with the policy.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Show the policy in force, a setting a line.
    Show(Show),
    /// Change settings of the policy in force, or put a whole one in its place.
    Set(Set),
    /// Show what another policy would have done about what was found; nothing is put in force.
    Preview(Preview),
    /// List the policies that people put in force, with what each changed.
    Versions(Versions),
}

/// Show the policy in force.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Only settings whose name begins so, such as detectors.traffic_burst.
    prefix: Option<String>,
    #[command(flatten)]
    service: Service,
}

/// Put another policy in force.
#[derive(Debug, Args)]
pub(super) struct Set {
    #[command(flatten)]
    draft: Draft,
    #[command(flatten)]
    service: Service,
}

impl Policy {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Show(show) => show.run(),
            Self::Set(set) => set.run(),
            Self::Preview(preview) => block_on(preview.run()),
            Self::Versions(versions) => block_on(versions.run()),
        }
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let policy = block_on(in_force(&service))?;
        let Some(prefix) = self.prefix.filter(|_| !self.service.json) else {
            return print(&policy, self.service.json);
        };
        let wanted = |name: &str| name == prefix || name.starts_with(&format!("{prefix}."));
        let settings: Vec<_> = flat(&policy).into_iter().filter(|(name, _)| wanted(name)).collect();
        if settings.is_empty() {
            let text = format!("the policy has no setting {}", plain(&prefix));
            return Err(Failure::new(code::NO_INPUT, text));
        }
        settings.iter().try_for_each(|(name, value)| Ok(line(&format!("{name}={value}"))?))
    }
}

impl Set {
    fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let policy = block_on(self.put(&service))?;
        Ok(line(&if self.service.json {
            policy.to_string()
        } else {
            format!("the policy {} is in force", text(&policy["version"]))
        })?)
    }

    async fn put(&self, service: &Connection) -> Result<Value, Failure> {
        let document = self.draft.document(service).await?;
        let mut request = service.request(Method::PUT, &["v1", "policy"]);
        if let Some(version) = document.get("version").and_then(Value::as_str) {
            request = request.header(IF_MATCH, format!("\"{version}\""));
        }
        service.json(request.json(&document)).await
    }
}
