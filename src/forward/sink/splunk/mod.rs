//! Splunk's HTTP Event Collector: events as JSON objects one behind another, with or without indexer acknowledgement.
//!
//! A 200 says that Splunk took a request, not that it kept it. With `acknowledge` a batch counts as sent only when
//! Splunk says that it is indexed. That may take longer than one attempt: what is on its way is remembered between
//! attempts, asked after, and sent again only when its time is up.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Failure, KindSettings, Sent, Sink, webhook};
use crate::{
    domain::event::Event,
    forward::{Answer, Common, HttpClient, Secret, SinkContext, UrlSource, format::Format},
};

const EVENT: &str = "/services/collector/event";
const ACK: &str = "/services/collector/ack";
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");
/// How long a request may wait for being indexed, in seconds: Splunk's own connectors wait five minutes, since
/// acknowledgements come in steps of up to two.
const ACKNOWLEDGE_SECONDS: u64 = 300;
const MOST_ACKNOWLEDGE_SECONDS: u64 = 3_600;
/// Between questions whether a request is indexed.
const FIRST_QUESTION: Duration = Duration::from_millis(200);
const NEXT_QUESTIONS: Duration = Duration::from_secs(5);
/// Events of one batch that are left out one by one; with more of them, smaller batches are tried.
const MOST_REFUSED: usize = 10;

/// `type = "splunk"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splunk {
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
    fn check(&self, _common: &Common) -> Result<(), (&'static str, String)> {
        let named = [
            ("index", &self.index),
            ("source", &self.source),
            ("sourcetype", &self.sourcetype),
            ("host", &self.host),
        ];
        if let Some((setting, _)) = named.iter().find(|(_, text)| text.as_deref() == Some("")) {
            return Err((setting, "must not be empty: leave it out".to_owned()));
        }
        match self.acknowledge_seconds {
            Some(_) if !self.acknowledge => {
                Err(("acknowledge_seconds", "is for acknowledge = true".to_owned()))
            }
            Some(seconds) if !(1..=MOST_ACKNOWLEDGE_SECONDS).contains(&seconds) => {
                Err(("acknowledge_seconds", format!("must be from 1 to {MOST_ACKNOWLEDGE_SECONDS}")))
            }
            _ => Ok(()),
        }
    }

    fn open(&self, common: &Common, _context: &SinkContext) -> Result<Box<dyn Sink>, (&'static str, String)> {
        let url = self.url.read().map_err(|hint| ("url", hint))?;
        let client = HttpClient::new(&url, common)?;
        let mut headers = webhook::headers(None)?;
        let token = self.token.read().map_err(|hint| ("token", hint))?;
        let mut token = HeaderValue::from_str(&format!("Splunk {}", token.as_str()))
            .map_err(|_| ("token", "must be printable text in one line".to_owned()))?;
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
        let acks = self.acknowledge.then(|| Acks {
            bound: Duration::from_secs(self.acknowledge_seconds.unwrap_or(ACKNOWLEDGE_SECONDS)),
            patience: common.timeout / 2,
            enabled: false,
            requests: Vec::new(),
        });
        if acks.is_some() {
            headers.insert(CHANNEL, channel().map_err(|why| ("acknowledge", why))?);
        }
        let format = common.format.unwrap_or(Format::Json);
        let envelope = Envelope { metadata: self.metadata(format), format };
        Ok(Box::new(Collector { client, headers, envelope, acks }))
    }

    /// Acknowledgements come seldom, so more events wait for each.
    fn batch(&self) -> usize {
        if self.acknowledge { 1_000 } else { 100 }
    }
}

impl Splunk {
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
fn channel() -> Result<HeaderValue, String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| format!("needs random numbers: {error}"))?;
    let id = uuid::Builder::from_random_bytes(random).into_uuid();
    HeaderValue::from_str(&id.to_string()).map_err(|error| error.to_string())
}

/// Wraps events.
struct Envelope {
    metadata: String,
    format: Format,
}

impl Envelope {
    /// Appends an event as one object.
    fn wrap(&self, event: &Event, out: &mut Vec<u8>) {
        let time = event.time.max(0);
        out.extend(format!("{{\"time\":{}.{:03},{}", time / 1000, time % 1000, self.metadata).bytes());
        let fields = json!({
            "keyward_id": event.id, "keyward_type": event.kind.name(), "keyward_severity": event.severity.name(),
        });
        out.extend(format!("\"fields\":{fields},\"event\":").bytes());
        if self.format.is_json() {
            self.format.render(event, out);
        } else {
            let mut line = Vec::new();
            self.format.render(event, &mut line);
            out.extend(json!(String::from_utf8_lossy(&line)).to_string().bytes());
        }
        out.push(b'}');
    }
}

struct Collector {
    client: HttpClient,
    headers: HeaderMap,
    envelope: Envelope,
    acks: Option<Acks>,
}

/// What waits for its acknowledgement.
struct Acks {
    /// How long it may wait.
    bound: Duration,
    /// For how much of it one attempt waits.
    patience: Duration,
    /// Whether Splunk said that the token has acknowledgement.
    enabled: bool,
    requests: Vec<Request>,
}

/// A request that Splunk took.
struct Request {
    ack: u64,
    /// The events in it.
    ids: HashSet<String>,
    sent: Instant,
    indexed: bool,
}

impl Request {
    fn has_one_of(&self, events: &[Event]) -> bool {
        events.iter().any(|event| self.ids.contains(&event.id))
    }
}

impl Sink for Collector {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(self.deliver(events))
    }
}

impl Collector {
    async fn deliver(&mut self, events: &[Event]) -> Result<Sent, Failure> {
        if self.acks.as_ref().is_some_and(|acks| !acks.enabled) {
            // A question of no meaning, but before anything is sent: the answer says whether the token has them.
            self.ask(&[0]).await?;
        }
        if let Some(acks) = &mut self.acks {
            acks.enabled = true;
            acks.requests.retain(|request| request.sent.elapsed() < acks.bound);
        }
        let sent = self.post(events).await?;
        self.indexed(events).await?;
        Ok(sent)
    }

    /// Posts what is not on its way, without the events that Splunk does not take.
    async fn post(&mut self, events: &[Event]) -> Result<Sent, Failure> {
        let on_its_way = |event: &Event| {
            let waiting = self.acks.iter().flat_map(|acks| &acks.requests);
            waiting.into_iter().any(|request| request.ids.contains(&event.id))
        };
        let mut places: Vec<usize> = (0..events.len()).filter(|n| !on_its_way(&events[*n])).collect();
        let mut sent = Sent::default();
        while !places.is_empty() {
            let mut body = Vec::new();
            places.iter().for_each(|n| self.envelope.wrap(&events[*n], &mut body));
            let answer = self.client.exchange(EVENT, self.headers.clone(), body).await?;
            sent.answer = answer.shown();
            match verdict(answer)? {
                Verdict::Taken(ack) => {
                    let ids = places.iter().map(|n| events[*n].id.clone()).collect();
                    self.note(ack, ids)?;
                    break;
                }
                Verdict::Without(n, why) if n < places.len() && sent.refused.len() < MOST_REFUSED => {
                    sent.refused.push((places.remove(n), why));
                }
                Verdict::Without(_, why) => return Err(Failure::Refused(why)),
            }
        }
        Ok(sent)
    }

    /// Remembers a request that Splunk took.
    fn note(&mut self, ack: Option<u64>, ids: HashSet<String>) -> Result<(), Failure> {
        let Some(acks) = &mut self.acks else { return Ok(()) };
        let Some(ack) = ack else {
            acks.enabled = false;
            let hint = "enable indexer acknowledgement for the token, or set acknowledge = false";
            return Err(Failure::Denied(format!("Splunk gave no ackId: {hint}")));
        };
        // They count up. One that does not is from after a restart, which knows nothing of those before.
        if acks.requests.iter().any(|request| request.ack >= ack) {
            acks.requests.clear();
        }
        acks.requests.push(Request { ack, ids, sent: Instant::now(), indexed: false });
        Ok(())
    }

    /// Waits until every request with one of these events is indexed. Those with others (a dead letter that is sent
    /// again meanwhile) hold nothing up; they are remembered for as long as they may take, since to forget them at once
    /// would be to send their events again.
    async fn indexed(&mut self, events: &[Event]) -> Result<(), Failure> {
        let started = Instant::now();
        let mut pause = FIRST_QUESTION;
        loop {
            let Some(acks) = &mut self.acks else { return Ok(()) };
            let own = acks.requests.iter().filter(|request| request.has_one_of(events));
            let waiting: Vec<u64> =
                own.filter(|request| !request.indexed).map(|request| request.ack).collect();
            if waiting.is_empty() {
                acks.requests.retain(|request| !request.has_one_of(events));
                return Ok(());
            }
            if started.elapsed() + pause > acks.patience {
                let why = "Splunk took the events, but has not indexed them yet".to_owned();
                return Err(Failure::Busy { why, after: None });
            }
            sleep(pause).await;
            pause = (pause * 2).min(NEXT_QUESTIONS);
            let said = self.ask(&waiting).await?;
            for request in self.acks.iter_mut().flat_map(|acks| &mut acks.requests) {
                request.indexed |= said.get(&request.ack.to_string()) == Some(&true);
            }
        }
    }

    /// Asks which of these requests are indexed. Splunk forgets a yes once it was said.
    async fn ask(&self, acks: &[u64]) -> Result<HashMap<String, bool>, Failure> {
        #[derive(Deserialize)]
        struct Acks {
            acks: HashMap<String, bool>,
        }
        let body = json!({ "acks": acks }).to_string().into_bytes();
        let answer = self.client.exchange(ACK, self.headers.clone(), body).await?;
        match answer.object::<Acks>().filter(|_| answer.is_success()) {
            Some(said) => Ok(said.acks),
            None => {
                let shown = answer.shown();
                verdict(answer)?;
                Err(Failure::Unreachable(format!("{shown}: that says nothing of acknowledgements")))
            }
        }
    }
}

/// What the collector says.
#[derive(Deserialize)]
struct Said {
    code: u16,
    /// The place of the first event that it does not take, from 0.
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
    #[serde(rename = "ackId", alias = "ackID")]
    ack: Option<Value>,
}

/// What became of a request.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// It was taken, under this number if acknowledgement is on.
    Taken(Option<u64>),
    /// It was not taken, because of the event in this place.
    Without(usize, String),
}

/// What an answer means, by Splunk's table of codes.
fn verdict(answer: Answer) -> Result<Verdict, Failure> {
    let (why, after) = (answer.shown(), answer.after);
    let Some(said) = answer.object::<Said>() else {
        answer.judged()?;
        let hint = "that is no HTTP Event Collector, or its answer broke off";
        return Err(Failure::Unreachable(format!("{why}: {hint}")));
    };
    let denied = |hint: &str| Err(Failure::Denied(format!("{why}: {hint}")));
    match said.code {
        // 24 and 25: taken, but queues are nearly full.
        0 | 24 | 25 if answer.is_success() => Ok(Verdict::Taken(said.ack.as_ref().and_then(number))),
        1..=4 | 16 | 21 | 22 => denied("correct the token, in Splunk or here"),
        5 | 6 | 12 | 13 | 15 => match said.invalid {
            Some(n) => Ok(Verdict::Without(n, why)),
            None => Err(Failure::Refused(why)),
        },
        7 => denied("allow the token this index, or set another one"),
        8 => Err(Failure::Broken(why)),
        9 | 18..=20 | 23 | 26 | 27 => Err(Failure::Busy { why, after }),
        10 => denied("the token wants indexer acknowledgement: set acknowledge = true"),
        11 => denied("Splunk does not take our channel"),
        14 => denied("enable indexer acknowledgement for the token, or set acknowledge = false"),
        _ => {
            answer.judged()?;
            Err(Failure::Unreachable(format!("{why}: that code is not known")))
        }
    }
}

/// A number, or one in a string.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::forward::sink::samples;

    fn said(status: u16, body: &str) -> Result<Verdict, Failure> {
        verdict(Answer { status, after: None, body: body.as_bytes().to_vec(), whole: true })
    }

    #[test]
    fn every_code_of_splunk_says_whether_to_wait_to_park_or_to_correct() {
        let of = |status: u16, code: u16| said(status, &format!(r#"{{"text":"x","code":{code}}}"#));
        assert_eq!(of(200, 0), Ok(Verdict::Taken(None)));
        assert_eq!(said(200, r#"{"text":"Success","code":0,"ackId":7}"#), Ok(Verdict::Taken(Some(7))));
        assert_eq!(said(200, r#"{"text":"Success","code":0,"ackID":"7"}"#), Ok(Verdict::Taken(Some(7))));
        assert_eq!(of(200, 24), Ok(Verdict::Taken(None)), "taken, with a warning");
        for (status, code) in
            [(403, 1), (401, 2), (401, 3), (403, 4), (400, 7), (400, 10), (400, 11), (400, 14), (400, 16)]
        {
            assert!(matches!(of(status, code), Err(Failure::Denied(_))), "{code}");
        }
        for code in [5, 6, 12, 13, 15] {
            assert!(matches!(of(400, code), Err(Failure::Refused(_))), "{code}");
            let body = format!(r#"{{"text":"x","code":{code},"invalid-event-number":3}}"#);
            assert!(matches!(said(400, &body), Ok(Verdict::Without(3, _))), "{code}");
        }
        assert!(matches!(of(500, 8), Err(Failure::Broken(_))));
        for (status, code) in [(503, 9), (503, 18), (503, 23), (429, 26), (429, 27)] {
            assert!(matches!(of(status, code), Err(Failure::Busy { .. })), "{code}");
        }
        assert!(matches!(of(400, 99), Err(Failure::Refused(_))), "what is not known is as its status says");
        assert!(matches!(of(500, 0), Err(Failure::Broken(_))));
        assert!(matches!(of(200, 99), Err(Failure::Unreachable(_))));
        assert!(matches!(said(200, "<html>Welcome</html>"), Err(Failure::Unreachable(_))));
        assert!(matches!(said(413, "too large"), Err(Failure::Refused(_))));
        assert!(matches!(said(404, ""), Err(Failure::Denied(_))));
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let read = |own: &str| {
            let text = format!(
                "name = 's'\ntype = 'splunk'\nurl = 'https://splunk.example:8088'\ntoken = 'env:T'\n{own}"
            );
            crate::forward::SinkSettings::read(text.parse().unwrap()).map(|_| ()).map_err(|e| e.setting)
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
