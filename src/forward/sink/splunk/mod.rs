//! Splunk's HTTP Event Collector: events as JSON objects one behind another, with or without indexer acknowledgement.
//!
//! A 200 says that Splunk took a request, not that it kept it. With `acknowledge` a batch counts as sent only when
//! Splunk says that it is indexed. That may take longer than one attempt. So what is on its way is remembered between
//! attempts, asked after, and sent again only when its time is up.
//!
//! Here are the settings and the sink. `envelope` wraps events, `reply` says what an answer means, `acks` remembers
//! what waits for its acknowledgement.

mod acks;
mod envelope;
mod reply;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use self::{
    acks::PendingAcks,
    envelope::Envelope,
    reply::{PostOutcome, outcome},
};
use crate::{
    clock,
    domain::event::Event,
    forward::{
        common::CommonSettings,
        context::SinkContext,
        contract::{KindSettings, SendReport, Sink},
        error::{SendError, SendErrorKind},
        format::Format,
        http,
        secret::{Secret, UrlSource},
    },
    outbound::HttpClient,
    settings::{SettingError, SettingErrors},
};

const EVENT_PATH: &str = "/services/collector/event";
const ACK_PATH: &str = "/services/collector/ack";
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");
/// How long a request may wait for being indexed, in seconds. Splunk's own connectors wait five minutes, since
/// acknowledgements come in steps of up to two.
const ACKNOWLEDGE_SECONDS: u64 = 300;
const MAX_ACKNOWLEDGE_SECONDS: u64 = 3_600;
/// How long to wait before Splunk is asked for the first time whether a request is indexed.
const FIRST_ACK_WAIT: Duration = Duration::from_millis(200);
/// The wait doubles up to this.
const MAX_ACK_WAIT: Duration = Duration::from_secs(5);
/// Events of one batch that are left out one by one; with more of them, smaller batches are tried.
const MAX_REFUSED: usize = 10;

/// The own settings of a sink with `type = "splunk"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Splunk {
    url: UrlSource,
    token: Secret,
    /// Where events are kept; the token's own index if it is not set.
    index: Option<String>,
    source: Option<String>,
    sourcetype: Option<String>,
    host: Option<String>,
    #[serde(default)]
    acknowledge: bool,
    acknowledge_seconds: Option<u64>,
}

impl KindSettings for Splunk {
    fn check(&self, _common: &CommonSettings, errors: &mut SettingErrors) {
        let texts = [
            ("index", &self.index),
            ("source", &self.source),
            ("sourcetype", &self.sourcetype),
            ("host", &self.host),
        ];
        for (setting, _) in texts.iter().filter(|(_, text)| text.as_deref() == Some("")) {
            errors.check(Err(SettingError::new(*setting, "must not be empty: leave it out")));
        }
        errors.check(self.check_acknowledge());
    }

    fn open(&self, common: &CommonSettings, _context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        let client = HttpClient::new(&self.url.read("url")?, &common.outbound)?;
        let mut headers = http::json_headers(None)?;
        let token = Zeroizing::new(format!("Splunk {}", self.token.read("token")?.as_str()));
        headers.insert(AUTHORIZATION, http::sensitive("token", &token)?);
        let acks = self.acknowledge.then(|| {
            let limit = Duration::from_secs(self.acknowledge_seconds.unwrap_or(ACKNOWLEDGE_SECONDS));
            PendingAcks::new(limit, common.timeout() / 2)
        });
        if acks.is_some() {
            headers.insert(CHANNEL, channel()?);
        }
        let format = common.format.unwrap_or(Format::Json);
        let envelope = Envelope { metadata: self.metadata(format), format };
        Ok(Box::new(SplunkSink { client, headers, envelope, acks }))
    }

    /// Acknowledgements come seldom, so more events wait for each.
    fn batch(&self) -> usize {
        if self.acknowledge { 1_000 } else { 100 }
    }
}

impl Splunk {
    fn check_acknowledge(&self) -> Result<(), SettingError> {
        let wrong = |hint: String| Err(SettingError::new("acknowledge_seconds", hint));
        match self.acknowledge_seconds {
            Some(_) if !self.acknowledge => wrong("is for acknowledge = true".to_owned()),
            Some(seconds) if !(1..=MAX_ACKNOWLEDGE_SECONDS).contains(&seconds) => {
                wrong(format!("must be from 1 to {MAX_ACKNOWLEDGE_SECONDS}"))
            }
            _ => Ok(()),
        }
    }

    /// What is the same of every event, as members of its object.
    fn metadata(&self, format: Format) -> String {
        let sourcetype = self.sourcetype.clone().unwrap_or_else(|| format!("keyward:{}", format.name()));
        let source = self.source.as_deref().unwrap_or("keyward");
        let mut metadata = format!("\"source\":{},\"sourcetype\":{},", json!(source), json!(sourcetype));
        for (name, text) in [("host", &self.host), ("index", &self.index)] {
            if let Some(text) = text {
                metadata.push_str(&format!("\"{name}\":{},", json!(text)));
            }
        }
        metadata
    }
}

/// A channel of our own: Splunk counts acknowledgements per channel.
fn channel() -> Result<HeaderValue, SettingError> {
    let mut random = [0; 16];
    let wrong = || SettingError::new("acknowledge", "needs random numbers");
    getrandom::fill(&mut random).map_err(|error| wrong().because(error))?;
    let id = uuid::Builder::from_random_bytes(random).into_uuid();
    HeaderValue::from_str(&id.to_string()).map_err(|error| wrong().because(error))
}

struct SplunkSink {
    client: HttpClient,
    headers: HeaderMap,
    envelope: Envelope,
    acks: Option<PendingAcks>,
}

impl Sink for SplunkSink {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(self.deliver(events))
    }
}

impl SplunkSink {
    async fn deliver(&mut self, events: &[Event]) -> Result<SendReport, SendError> {
        if self.acks.as_ref().is_some_and(|acks| !acks.enabled) {
            // A question of no meaning, but before anything is sent: the answer says whether the token has them.
            self.ask(&[0]).await?;
        }
        if let Some(acks) = &mut self.acks {
            acks.enabled = true;
            acks.drop_overdue();
        }
        let report = self.post(events).await?;
        self.wait_until_indexed(events).await?;
        Ok(report)
    }

    /// Posts what is not on its way, without the events that Splunk does not take.
    async fn post(&mut self, events: &[Event]) -> Result<SendReport, SendError> {
        let on_its_way = |event: &Event| self.acks.as_ref().is_some_and(|acks| acks.has(&event.id));
        let mut indexes: Vec<usize> = (0..events.len()).filter(|n| !on_its_way(&events[*n])).collect();
        let mut report = SendReport::default();
        while !indexes.is_empty() {
            let mut body = Vec::new();
            indexes.iter().for_each(|n| self.envelope.wrap(&events[*n], &mut body));
            let response = self.client.post(EVENT_PATH, self.headers.clone(), body).await?;
            report.answer = response.summary();
            match outcome(response)? {
                PostOutcome::Taken(ack) => {
                    let ids = indexes.iter().map(|n| events[*n].id.clone()).collect();
                    self.remember(ack, ids)?;
                    break;
                }
                PostOutcome::InvalidEvent(n, _)
                    if n < indexes.len() && report.refused.len() < MAX_REFUSED =>
                {
                    report.refused.push((indexes.remove(n), report.answer.clone()));
                }
                PostOutcome::InvalidEvent(_, error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// Remembers a request that Splunk took.
    fn remember(&mut self, ack: Option<u64>, ids: HashSet<String>) -> Result<(), SendError> {
        let Some(acks) = &mut self.acks else { return Ok(()) };
        let Some(ack) = ack else {
            acks.enabled = false;
            let hint = "enable indexer acknowledgement for the token, or set acknowledge = false";
            return Err(SendError::denied("Splunk gave no ackId").detail(hint));
        };
        acks.add(ack, ids);
        Ok(())
    }

    /// Waits until every request with one of these events is indexed. Those with others (a dead letter that is sent
    /// again meanwhile) hold nothing up. They are remembered for as long as they may take, since to forget them at once
    /// would be to send their events again.
    async fn wait_until_indexed(&mut self, events: &[Event]) -> Result<(), SendError> {
        let started = clock::instant();
        let mut wait = FIRST_ACK_WAIT;
        loop {
            let Some(acks) = &mut self.acks else { return Ok(()) };
            let waiting = acks.waiting_for(events);
            if waiting.is_empty() {
                acks.forget(events);
                return Ok(());
            }
            if started.elapsed() + wait > acks.wait_per_attempt {
                return Err(SendError::busy("Splunk took the events, but has not indexed them yet"));
            }
            clock::sleep(wait).await;
            wait = (wait * 2).min(MAX_ACK_WAIT);
            let indexed = self.ask(&waiting).await?;
            if let Some(acks) = &mut self.acks {
                acks.mark_indexed(&indexed);
            }
        }
    }

    /// Asks which of these requests are indexed. Splunk forgets a yes once it was said.
    async fn ask(&self, acks: &[u64]) -> Result<HashMap<String, bool>, SendError> {
        #[derive(Deserialize)]
        struct AckResponse {
            acks: HashMap<String, bool>,
        }
        let body = json!({ "acks": acks }).to_string().into_bytes();
        let response = self.client.post(ACK_PATH, self.headers.clone(), body).await?;
        if let Some(indexed) = response.object::<AckResponse>().filter(|_| response.is_success()) {
            return Ok(indexed.acks);
        }
        let unknown = http::answered(SendErrorKind::Unreachable, &response);
        outcome(response)?;
        Err(unknown.detail("that says nothing of acknowledgements"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::forward::{SinkSettings, sink::samples};

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let read = |own: &str| {
            let text = format!(
                "name = 's'\ntype = 'splunk'\nurl = 'https://splunk.example:8088'\ntoken = 'env:T'\n{own}"
            );
            let read = SinkSettings::read(text.parse().unwrap());
            read.map(|_| ()).map_err(|errors| errors.iter().next().unwrap().setting.clone())
        };
        assert_eq!(read("acknowledge = true\nacknowledge_seconds = 600"), Ok(()));
        assert_eq!(read("acknowledge_seconds = 600"), Err("sinks.s.acknowledge_seconds".to_owned()));
        assert_eq!(
            read("acknowledge = true\nacknowledge_seconds = 0"),
            Err("sinks.s.acknowledge_seconds".into())
        );
        assert_eq!(read("index = ''"), Err("sinks.s.index".to_owned()));
        assert_eq!(read("verify = false").unwrap_err(), "sinks.s.verify");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A collector reads one object after another, and each holds the whole event.
        #[test]
        fn whatever_is_in_events_the_collector_reads_them_back(
            events in prop::collection::vec(samples::event(), 1..5),
            format in prop::sample::select(Format::ALL.to_vec()),
            host in any::<String>(),
        ) {
            let text = "url = 'https://x'\ntoken = 'env:T'\nindex = 'security'";
            let settings = Splunk { host: Some(host.clone()), ..toml::from_str(text).unwrap() };
            let envelope = Envelope { metadata: settings.metadata(format), format };
            let mut body = Vec::new();
            events.iter().for_each(|event| envelope.wrap(event, &mut body));
            let read: Vec<Value> =
                serde_json::Deserializer::from_slice(&body).into_iter().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.len(), events.len());
            for (read, event) in read.iter().zip(&events) {
                let line = samples::rendered(format, event);
                let expected =
                    if format.is_json() { serde_json::from_str(&line).unwrap() } else { json!(line) };
                prop_assert_eq!(&read["event"], &expected);
                prop_assert_eq!(&read["fields"]["keyward_id"], &json!(event.id));
                prop_assert_eq!(&read["host"], &json!(host));
                prop_assert_eq!(&read["index"], &json!("security"));
                let time = (read["time"].as_f64().unwrap() * 1000.0).round() as i64;
                prop_assert_eq!(time, event.time);
            }
        }
    }
}
