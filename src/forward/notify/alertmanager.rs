//! Prometheus Alertmanager by its API v2: a group is an alert, posted again as long as it goes on.
//!
//! What is active is posted once a minute and holds for five: an alert does not flap when one post fails, and ends by
//! itself when Keyward does. Labels are what an alert is, so none of them changes while a group is open but `severity`:
//! when that rises, the alert with the lesser one ends in the same post.

use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    channel::{Channel, ChannelSettings, ChannelTraits},
    message,
    notice::{Notice, NoticeKind},
};
use crate::{
    domain::{Millis, event::format_millis, finding::Severity, subject::SubjectKind},
    forward::{
        common::CommonSettings,
        error::SendError,
        http::{json_headers, post},
        secret::{Secret, UrlSource},
    },
    outbound::HttpClient,
    settings::SettingError,
};

/// How often active alerts are posted again, in milliseconds.
const RENEW: Millis = 60_000;
/// How long each post holds, in milliseconds.
const ALERT_LIFETIME: Millis = 300_000;

/// The own settings of a sink with `type = "alertmanager"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// The address of Alertmanager, without `/api/v2/alerts`.
    url: UrlSource,
    /// The value of the header `Authorization`.
    authorization: Option<Secret>,
}

impl ChannelSettings for Alertmanager {
    const TRAITS: ChannelTraits =
        ChannelTraits { closes: true, acknowledges: false, max_notices: 1_000, renew_every: Some(RENEW) };

    fn open(&self, common: &CommonSettings) -> Result<Box<dyn Channel>, SettingError> {
        let client = HttpClient::new(&self.url.read("url")?, &common.outbound)?;
        let headers = json_headers(self.authorization.as_ref())?;
        Ok(Box::new(AlertmanagerChannel { client, headers, sink: common.name.clone() }))
    }
}

struct AlertmanagerChannel {
    client: HttpClient,
    headers: HeaderMap,
    sink: String,
}

impl Channel for AlertmanagerChannel {
    fn send<'a>(
        &'a mut self,
        notices: &'a [Notice],
        now: Millis,
    ) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(async move {
            let body = Value::from(alerts(notices, &self.sink, now)).to_string().into_bytes();
            Ok(post(&self.client, "/api/v2/alerts", self.headers.clone(), body).await?.summary())
        })
    }
}

/// The alerts that notices become; two for a notice whose severity rose.
pub(super) fn alerts(notices: &[Notice], sink: &str, now: Millis) -> Vec<Value> {
    let mut alerts = Vec::with_capacity(notices.len());
    for notice in notices {
        if let Some(lesser) = notice.notified_severity.filter(|sent| *sent != notice.severity) {
            alerts.push(alert(notice, lesser, sink, now));
        }
        let ends = if notice.kind == NoticeKind::Resolved { now } else { now + ALERT_LIFETIME };
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
            "summary": message::headline(&Notice { kind: NoticeKind::Firing, ..notice.clone() }),
            "description": message::body(notice),
        },
        "startsAt": format_millis(notice.first.min(ends - 1)),
        "endsAt": format_millis(ends),
    })
}

/// The name of an alert: `KeywardImpossibleTravel` for the rule `impossible_travel`.
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
