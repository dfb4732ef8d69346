//! Prometheus Alertmanager by its API v2: a group is an alert, told again as long as it goes on.
//!
//! What is active is posted once a minute and holds for five: an alert does not flap when one post fails, and ends by
//! itself when Keyward does. Labels are what an alert is, so none of them changes while a group is open but `severity`:
//! when that rises, the alert with the lesser one ends in the same post.

use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Channel, ChannelSettings, Nature, Notice, Told, message};
use crate::{
    domain::{Millis, event::format_millis, finding::Severity, subject::SubjectKind},
    forward::{Common, Failure, HttpClient, Secret, UrlSource, sink::webhook},
};

/// How often active alerts are told again, and how long each post holds, in milliseconds.
const RENEW: Millis = 60_000;
const HOLDS: Millis = 300_000;

/// `type = "alertmanager"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// Without `/api/v2/alerts`.
    url: UrlSource,
    /// What the header `Authorization` says.
    authorization: Option<Secret>,
}

impl ChannelSettings for Alertmanager {
    const NATURE: Nature = Nature { closes: true, acknowledges: false, at_once: 1_000, renew: Some(RENEW) };

    fn open(&self, common: &Common) -> Result<Box<dyn Channel>, (&'static str, String)> {
        let url = self.url.read().map_err(|hint| ("url", hint))?;
        let client = HttpClient::new(&url, common)?;
        let headers = webhook::headers(self.authorization.as_ref())?;
        Ok(Box::new(Alerts { client, headers, sink: common.name.clone() }))
    }
}

struct Alerts {
    client: HttpClient,
    headers: HeaderMap,
    sink: String,
}

impl Channel for Alerts {
    fn tell<'a>(&'a mut self, notices: &'a [Notice], now: Millis) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let body = Value::from(alerts(notices, &self.sink, now)).to_string().into_bytes();
            Ok(self.client.post("/api/v2/alerts", self.headers.clone(), body).await?.shown())
        })
    }
}

/// The alerts of notices.
pub(super) fn alerts(notices: &[Notice], sink: &str, now: Millis) -> Vec<Value> {
    let mut alerts = Vec::with_capacity(notices.len());
    for notice in notices {
        if let Some(lesser) = notice.told_severity.filter(|told| *told != notice.severity) {
            alerts.push(alert(notice, lesser, sink, now));
        }
        let ends = if notice.told == Told::Resolved { now } else { now + HOLDS };
        alerts.push(alert(notice, notice.severity, sink, ends));
    }
    alerts
}

fn alert(notice: &Notice, severity: Severity, sink: &str, ends: Millis) -> Value {
    let kind = notice.subject.as_ref().map_or("", |subject| match subject.kind() {
        SubjectKind::Key => "key",
        SubjectKind::Ip => "ip",
        SubjectKind::Project => "project",
    });
    json!({
        "labels": {
            "alertname": name(&notice.rule),
            "severity": severity,
            "rule": notice.rule,
            "subject": notice.subject.as_ref().map_or("", |subject| subject.as_str()),
            "subject_kind": kind,
            "service": "keyward",
            "sink": sink,
        },
        "annotations": {
            "summary": message::headline(&Notice { told: Told::Firing, ..notice.clone() }),
            "description": message::body(notice),
        },
        "startsAt": format_millis(notice.first.min(ends - 1)),
        "endsAt": format_millis(ends),
    })
}

/// `KeywardImpossibleTravel`
fn name(rule: &str) -> String {
    let mut name = "Keyward".to_owned();
    for word in rule.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_becomes_a_name_as_alerts_have_it() {
        assert_eq!(name("impossible_travel"), "KeywardImpossibleTravel");
        assert_eq!(name("alert_rule cost_per_hour gt 1.5"), "KeywardAlertRuleCostPerHourGt15");
    }
}
