//! `keyward status`: how the service is, or where a subject stands.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::{
    Failure, block_on,
    client::{Connection, Service},
    output::{line, plain},
};

/// Show how a service is.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// key:<key_id>, ip:<address or prefix>, or project:<id>. Without one: the service and the bans in force.
    subject: Option<String>,
    /// Say nothing when the service is ready, degraded included; fail when it is not. For health checks; needs no
    /// token.
    #[arg(long, conflicts_with = "subject")]
    health: bool,
    #[command(flatten)]
    service: Service,
}

impl Status {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        block_on(async {
            match &self.subject {
                Some(subject) => {
                    let request = service.request(Method::GET, &["v1", "bans", subject]);
                    print_standing(&service.json(request).await?, self.service.json)
                }
                None => self.service_status(&service).await,
            }
        })
    }

    async fn service_status(&self, service: &Connection) -> Result<(), Failure> {
        let ready = service.json(service.request(Method::GET, &["readyz"])).await?;
        if self.health {
            return Ok(());
        }
        let request = service.request(Method::GET, &["v1", "bans"]).query(&[("limit", "20")]);
        let bans = service.json(request).await?;
        if self.service.json {
            line(&serde_json::json!({ "service": ready, "bans": bans }).to_string())?;
            return Ok(());
        }
        line(&format!("service  {} (store {})", text(&ready["status"]), text(&ready["store"]["status"])))?;
        line(&format!("geo      {}", text(&ready["components"]["geoip"]["state"])))?;
        let observes = ready["enforcement"] == "observe";
        let mode = if observes { " (only observes: nothing is refused)" } else { "" };
        line(&format!("policy   {}{mode}", text(&ready["policy_version"])))?;
        for sink in ready["components"]["sinks"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let how = if sink["error"].is_null() { "well".to_owned() } else { text(&sink["error"]) };
            let who =
                if sink["leading"] == true { how } else { "another instance sends, or none".to_owned() };
            line(&format!("sink     {} ({}): {who}", text(&sink["name"]), text(&sink["type"])))?;
        }
        let items = bans["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let more = if bans["next_cursor"].is_null() { "" } else { " (and more)" };
        line(&format!("held     {}{more}", items.len()))?;
        items.iter().try_for_each(|item| line(&format!("  {}", standing(item))))?;
        Ok(())
    }
}

/// Prints where a subject stands.
pub(super) fn print_standing(value: &Value, json: bool) -> Result<(), Failure> {
    line(&if json { value.to_string() } else { standing(value) })?;
    Ok(())
}

fn standing(value: &Value) -> String {
    let mut parts = vec![text(&value["subject"]), text(&value["state"])];
    if value["until"].is_string() {
        parts.push(format!("until {}", text(&value["until"])));
    }
    if value["enforced"] == false {
        parts.push("not enforced".to_owned());
    }
    if value["reason"].is_string() {
        parts.push(format!("({})", text(&value["reason"])));
    }
    parts.join("  ")
}

/// A value for people.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Null => "-".to_owned(),
        other => plain(&other.to_string()),
    }
}
