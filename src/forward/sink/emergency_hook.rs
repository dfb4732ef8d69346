//! The emergency hook: asks the provider of a key, or whoever holds its secret, to disable or rotate it.
//!
//! A signed message for each event that a key was cut off (or for the types that are configured), sent like any other:
//! from the log, until it is taken. What came back is an event of its own, and so is the first failure: people must
//! know that a key lives on.

use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    domain::{
        Millis,
        event::{EmergencyHookCalled, Event, EventType, HookOutcome, format_millis, wire_name},
        finding::Severity,
    },
    forward::{
        common::CommonSettings,
        context::SinkContext,
        contract::{KindSettings, SendReport, Sink},
        error::{SendError, SendErrorKind},
        http,
        notify::rule::rule,
        secret::{Secret, UrlSource},
        signer::WebhookSigner,
    },
    outbound::{HttpClient, HttpResponse},
    settings::{SettingError, SettingErrors},
    store::StoreError,
};

/// The own settings of a sink with `type = "emergency_hook"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmergencyHook {
    url: UrlSource,
    /// Signs the message: whoever can disable keys must know who asks.
    secret: Secret,
    /// The value of the header `Authorization`.
    authorization: Option<Secret>,
    #[serde(default)]
    request: KeyRequest,
}

/// What the other side is to do with the key.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum KeyRequest {
    #[default]
    Disable,
    Rotate,
    /// Nothing is to be done: somebody tries the sink.
    #[serde(skip_deserializing)]
    Test,
}

impl KindSettings for EmergencyHook {
    fn check(&self, common: &CommonSettings, errors: &mut SettingErrors) {
        let mut refuse_if = |wrong: bool, setting: &str, hint: &str| {
            errors.check(if wrong { Err(SettingError::new(setting, hint)) } else { Ok(()) });
        };
        refuse_if(common.format.is_some(), "format", "is not a choice for an emergency hook");
        refuse_if(common.batch != 1, "batch", "must be 1 for an emergency hook, as it is by default");
        let types = &common.filter.types;
        let hint = "must name the events that call it, such as [\"KEY_CUT_OFF\"]";
        refuse_if(types.is_empty(), "types", hint);
        let hint = "must not name EMERGENCY_HOOK: it would call itself";
        refuse_if(types.contains(&EventType::EmergencyHook), "types", hint);
    }

    fn open(&self, common: &CommonSettings, context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        Ok(Box::new(EmergencyHookSink {
            sink: common.name.clone(),
            client: HttpClient::new(&self.url.read("url")?, &common.outbound)?,
            signer: WebhookSigner::open(Some(&self.secret))?,
            headers: http::json_headers(self.authorization.as_ref())?,
            request: self.request,
            context: context.clone(),
            failure_logged: None,
        }))
    }

    fn batch(&self) -> usize {
        1
    }
}

/// What the other side may answer with.
#[derive(Debug, Deserialize)]
struct HookAnswer {
    /// The public id of the key that takes the place of the one that was disabled or rotated.
    key_id: Option<String>,
}

/// What came of a call: in a sentence, in a word, and the new key.
type Outcome = (String, HookOutcome, Option<String>);

struct EmergencyHookSink {
    sink: String,
    client: HttpClient,
    signer: WebhookSigner,
    headers: HeaderMap,
    request: KeyRequest,
    context: SinkContext,
    /// The id of the last event whose failure is in the log.
    failure_logged: Option<String>,
}

impl EmergencyHookSink {
    async fn call(&self, event: &Event, request: KeyRequest, now: Millis) -> Result<HttpResponse, SendError> {
        let message = json!({
            "type": event.kind.name(),
            "timestamp": format_millis(event.time),
            "data": { "request": request, "key_id": key_of(event), "event": event },
        });
        let body = message.to_string().into_bytes();
        let mut headers = self.headers.clone();
        self.signer.sign(&mut headers, &event.id, now, &body);
        http::post(&self.client, "", headers, body).await
    }

    /// The new key that the answer names, which takes the place of the one that the event is about; and what came of
    /// that, in a sentence.
    async fn replace_key(
        &self,
        event: &Event,
        response: &HttpResponse,
    ) -> Result<(Option<String>, String), SendError> {
        let answer: Option<HookAnswer> = response.object();
        let Some(new) = answer.and_then(|answer| answer.key_id) else { return Ok((None, String::new())) };
        let (Some(old), Some(replace)) = (key_of(event), &self.context.replace_key) else {
            return Ok((None, String::new()));
        };
        let taken = replace(self.sink.clone(), (old.to_owned(), new.clone())).await.map_err(|error| {
            SendError::unreachable("the new key cannot be put in the place of the old one").because(error)
        })?;
        Ok(match taken {
            Some(taken) => {
                let words = format!(" {}", taken.sentence(old, &new));
                (Some(new), words)
            }
            None => {
                let words =
                    " The key_id in its answer is no public id of a new key, so nothing was done with it.";
                (None, words.to_owned())
            }
        })
    }

    /// Whether the ban that the event reports has been lifted since. What is no ban is not withdrawn.
    async fn is_withdrawn(&self, event: &Event, now: Millis) -> Result<bool, StoreError> {
        let is_ban =
            matches!(event.kind, EventType::KeyCutOff | EventType::PermanentBan | EventType::TemporaryBan);
        let Some(subject) = event.subject.as_ref().filter(|_| is_ban) else { return Ok(false) };
        let record = self.context.store.standing(subject).await?;
        Ok(!record.is_some_and(|record| record.standing.counting(false).is_banned_at(now)))
    }

    fn log(&self, about: &Event, severity: Severity, outcome: Outcome, now: Millis) {
        let request = self.request;
        (self.context.log_event)(called(about, severity, (&self.sink, request), outcome, now));
    }

    /// Logs the first failure to call about an event: people must know that a key lives on.
    fn log_failure(&mut self, event: &Event, error: &SendError, now: Millis) {
        if self.failure_logged.as_ref() == Some(&event.id) {
            return;
        }
        self.failure_logged = Some(event.id.clone());
        let next = if error.kind == SendErrorKind::Refused {
            "it is a dead letter now"
        } else {
            "it will be tried again"
        };
        let summary = format!("The emergency hook {} failed: {error}; {next}.", self.sink);
        self.log(event, Severity::Critical, (summary, HookOutcome::Failed, None), now);
    }
}

impl Sink for EmergencyHookSink {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            let Some(event) = events.first() else { return Ok(SendReport::default()) };
            let now = (self.context.now)();
            if event.action.as_deref() == Some("shadow") || event.would.is_some() {
                return Ok(SendReport::all_taken("only watched: nobody was called"));
            }
            let withdrawn = self.is_withdrawn(event, now).await;
            if withdrawn
                .map_err(|error| SendError::unreachable("the ban cannot be looked up").because(error))?
            {
                let summary = format!("The emergency hook {} was not called: the ban was lifted.", self.sink);
                self.log(event, Severity::Medium, (summary, HookOutcome::Withdrawn, None), now);
                return Ok(SendReport::all_taken("nobody was called: the key is no longer banned"));
            }
            match self.call(event, self.request, now).await {
                Ok(response) => {
                    let answer = response.summary();
                    let (new_key_id, replaced) = self.replace_key(event, &response).await?;
                    let summary =
                        format!("The emergency hook {} took the request: {answer}.{replaced}", self.sink);
                    let outcome = (summary, HookOutcome::Taken, new_key_id);
                    self.log(event, Severity::High, outcome, now);
                    self.failure_logged = None;
                    Ok(SendReport::all_taken(answer))
                }
                Err(error) => {
                    self.log_failure(event, &error, now);
                    Err(error)
                }
            }
        })
    }

    /// Whoever tries a sink wants no key disabled.
    fn test<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            let response = self.call(event, KeyRequest::Test, (self.context.now)()).await?;
            Ok(SendReport::all_taken(response.summary()))
        })
    }
}

fn key_of(event: &Event) -> Option<&str> {
    let subject = event.subject.as_ref().and_then(|subject| subject.as_str().strip_prefix("key:"));
    event.key_id.as_deref().or(subject)
}

/// The event of a call of the hook `sink`: what came of it, in a sentence and in a word.
fn called(
    about: &Event,
    severity: Severity,
    (sink, request): (&str, KeyRequest),
    (summary, outcome, new_key_id): Outcome,
    now: Millis,
) -> Event {
    let details = EmergencyHookCalled {
        summary,
        outcome,
        request: wire_name(&request),
        sink: sink.to_owned(),
        event: about.id.clone(),
        cause: about.kind,
        rule: rule(about),
        new_key_id,
    };
    let event = Event::new(now, EventType::EmergencyHook, severity, about.subject.clone()).with(&details);
    Event { key_id: about.key_id.clone(), detector: Some(format!("hook:{sink}")), ..event }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{event::golden, subject::Subject};

    #[test]
    fn a_call_of_a_hook_is_written_as_its_golden_file_says() {
        let subject = Some(Subject::key("k1:9f2c"));
        let mut about = Event::new(0, EventType::KeyCutOff, Severity::Critical, subject);
        (about.id, about.key_id) = ("e0-1772442000000-0".to_owned(), Some("k1:9f2c".to_owned()));
        let said = "The emergency hook rotate took the request: HTTP 200.".to_owned();
        let hook = ("rotate", KeyRequest::Rotate);
        for (name, new_key_id) in [("", None), ("replaced", Some("k2-new".to_owned()))] {
            let outcome = (said.clone(), HookOutcome::Taken, new_key_id);
            golden::check(name, &called(&about, Severity::High, hook, outcome, 1_772_442_000_000));
        }
    }
}
