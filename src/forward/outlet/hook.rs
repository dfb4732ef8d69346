//! The emergency hook: asks the provider of a key, or whoever holds its secret, to disable or rotate it.
//!
//! A signed message for each event that a key was cut off (or for the types that are configured), sent like any other: from
//! the log, until it is taken. What came back is an event of its own, and so is the first failure: people must know that a
//! key lives on.

use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Failure, Outlet, OutletSettings, Sent,
    webhook::{Signer, headers},
};
use crate::{
    domain::{
        Millis,
        event::{Event, EventType, format_millis},
        finding::Severity,
    },
    forward::{Common, HttpClient, Place, Secret, Surroundings, notify::rule},
    store::StoreError,
};

/// `type = "emergency_hook"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyHook {
    url: Place,
    /// Signs: whoever can disable keys must know who asks.
    secret: Secret,
    authorization: Option<Secret>,
    /// What is asked for.
    #[serde(default)]
    request: Request,
}

/// What the other side is to do with the key.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    #[default]
    Disable,
    Rotate,
    /// Nothing: somebody tries the sink.
    #[serde(skip_deserializing)]
    Test,
}

impl OutletSettings for EmergencyHook {
    fn check(&self, common: &Common) -> Result<(), (&'static str, String)> {
        if common.format.is_some() {
            return Err(("format", "is not a choice for an emergency hook".to_owned()));
        }
        if common.batch != 1 {
            return Err(("batch", "must be 1 for an emergency hook, as it is by default".to_owned()));
        }
        if common.filter.types.is_empty() {
            return Err(("types", "must name the events that call it, such as [\"KEY_CUT_OFF\"]".to_owned()));
        }
        if common.filter.types.contains(&EventType::EmergencyHook) {
            return Err(("types", "must not name EMERGENCY_HOOK: it would call itself".to_owned()));
        }
        Ok(())
    }

    fn open(
        &self,
        common: &Common,
        around: &Surroundings,
    ) -> Result<Box<dyn Outlet>, (&'static str, String)> {
        let url = self.url.read().map_err(|mend| ("url", mend))?;
        Ok(Box::new(Hook {
            sink: common.name.clone(),
            client: HttpClient::new(&url, common)?,
            signer: Signer::open(Some(&self.secret))?,
            headers: headers(self.authorization.as_ref())?,
            request: self.request,
            around: around.clone(),
            told_of: None,
        }))
    }

    fn batch(&self) -> usize {
        1
    }
}

struct Hook {
    sink: String,
    client: HttpClient,
    signer: Signer,
    headers: HeaderMap,
    request: Request,
    around: Surroundings,
    /// The event for which a failure was told.
    told_of: Option<String>,
}

impl Hook {
    async fn call(&self, event: &Event, request: Request, now: Millis) -> Result<String, Failure> {
        let message = json!({
            "type": event.kind.name(),
            "timestamp": format_millis(event.time),
            "data": { "request": request, "key_id": key_of(event), "event": event },
        });
        let body = message.to_string().into_bytes();
        let mut headers = self.headers.clone();
        self.signer.sign(&mut headers, &event.id, now, &body);
        Ok(self.client.post("", headers, body).await?.shown())
    }

    /// Whether the ban that the event tells of has been lifted since. What is no ban is not withdrawn.
    async fn is_withdrawn(&self, event: &Event, now: Millis) -> Result<bool, StoreError> {
        let is_ban =
            matches!(event.kind, EventType::KeyCutOff | EventType::PermanentBan | EventType::TemporaryBan);
        let Some(subject) = event.subject.as_ref().filter(|_| is_ban) else { return Ok(false) };
        let record = self.around.store.standing(subject).await?;
        Ok(!record.is_some_and(|record| record.standing.counting(false).is_banned_at(now)))
    }

    fn tell(&self, about: &Event, severity: Severity, summary: String, outcome: &str, now: Millis) {
        let mut event = Event::new(now, EventType::EmergencyHook, severity, about.subject.clone());
        event.key_id.clone_from(&about.key_id);
        event.detector = Some(format!("hook:{}", self.sink));
        event.evidence = json!({
            "summary": summary, "outcome": outcome, "request": self.request, "sink": self.sink, "event": about.id,
            "cause": about.kind, "rule": rule(about),
        });
        (self.around.tell)(event);
    }
}

impl Outlet for Hook {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            let Some(event) = events.first() else { return Ok(Sent::default()) };
            let now = (self.around.now)();
            if event.action.as_deref() == Some("shadow") || event.would.is_some() {
                return Ok(Sent {
                    refused: Vec::new(),
                    answer: "only watched: nobody was called".to_owned(),
                });
            }
            match self.is_withdrawn(event, now).await {
                Ok(false) => {}
                Ok(true) => {
                    let answer = "nobody was called: the key is no longer banned".to_owned();
                    let summary =
                        format!("The emergency hook {} was not called: the ban was lifted.", self.sink);
                    self.tell(event, Severity::Medium, summary, "withdrawn", now);
                    return Ok(Sent { refused: Vec::new(), answer });
                }
                Err(error) => {
                    return Err(Failure::Unreachable(format!("the ban cannot be looked up: {error}")));
                }
            }
            match self.call(event, self.request, now).await {
                Ok(answer) => {
                    let summary = format!("The emergency hook {} took the request: {answer}.", self.sink);
                    self.tell(event, Severity::High, summary, "taken", now);
                    self.told_of = None;
                    Ok(Sent { refused: Vec::new(), answer })
                }
                Err(failure) => {
                    if self.told_of.as_ref() != Some(&event.id) {
                        self.told_of = Some(event.id.clone());
                        let again = if matches!(failure, Failure::Refused(_)) {
                            "it is a dead letter now"
                        } else {
                            "it will be tried again"
                        };
                        let summary = format!("The emergency hook {} failed: {failure}; {again}.", self.sink);
                        self.tell(event, Severity::Critical, summary, "failed", now);
                    }
                    Err(failure)
                }
            }
        })
    }

    /// Whoever tries a sink wants no key disabled.
    fn test<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            let answer = self.call(event, Request::Test, (self.around.now)()).await?;
            Ok(Sent { refused: Vec::new(), answer })
        })
    }
}

fn key_of(event: &Event) -> Option<&str> {
    let subject = event.subject.as_ref().and_then(|subject| subject.as_str().strip_prefix("key:"));
    event.key_id.as_deref().or(subject)
}
