//! Splunk's HTTP Event Collector.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use keyward::{
    clock::{self, Instant},
    domain::event::Event,
    forward::{SendError, SendErrorKind},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Arrived, Log, POISON, Running,
    fake::{Fake, Reply, Request},
    must, secret,
};

const TOKEN: &str = "B5A79AAD-D822-46CC-80D1-819F80D7BFB0";

/// An event as a collector takes it; anything else in it is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    time: Box<RawValue>,
    host: String,
    source: String,
    sourcetype: String,
    index: String,
    event: Event,
    fields: HashMap<String, String>,
}

/// A collector.
#[derive(Default)]
struct Splunk {
    arrived: Arrived,
    /// Said instead, one a request. What is `Half` is said once the events are taken.
    script: Mutex<VecDeque<Reply>>,
    /// Requests with events, and when they came.
    posts: Mutex<Vec<Instant>>,
    acks: Option<Acks>,
}

/// With indexer acknowledgement.
#[derive(Default)]
struct Acks {
    /// Requests that it takes and then loses.
    loses: usize,
    /// The token has none.
    disabled: bool,
    known: Mutex<Vec<(Vec<String>, usize)>>,
    channel: Mutex<Option<String>>,
    questions: Mutex<usize>,
}

impl Splunk {
    async fn listen(self) -> (Arc<Self>, Fake) {
        let splunk = Arc::new(self);
        let listens = splunk.clone();
        (splunk, Fake::start(move |request| listens.answer(request)).await)
    }

    fn saying(script: impl IntoIterator<Item = Reply>) -> Self {
        Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() }
    }

    fn answer(&self, request: &Request) -> Result<Reply, String> {
        must(request.method == "POST" && request.query.is_empty(), "POST, without parameters")?;
        must(request.header("authorization") == format!("Splunk {TOKEN}"), "the token")?;
        must(request.header("content-type") == "application/json", "the content type")?;
        self.channel(request.header("x-splunk-request-channel"))?;
        match request.path.as_str() {
            "/services/collector/event" => self.event(&request.body),
            "/services/collector/ack" => self.ack(&request.body),
            _ => Err("no such path".to_owned()),
        }
    }

    /// One that is a UUID and stays, with acknowledgement; none without.
    fn channel(&self, channel: &str) -> Result<(), String> {
        let Some(acks) = &self.acks else { return must(channel.is_empty(), "no channel") };
        must(uuid::Uuid::parse_str(channel).is_ok(), "the channel is a UUID")?;
        let mut known = acks.channel.lock().unwrap();
        must(known.get_or_insert_with(|| channel.to_owned()) == channel, "one channel")
    }

    fn event(&self, body: &[u8]) -> Result<Reply, String> {
        self.posts.lock().unwrap().push(clock::instant());
        let posted: Vec<Posted> = serde_json::Deserializer::from_slice(body)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        must(!posted.is_empty(), "no data")?;
        let mut script = self.script.lock().unwrap();
        let said = script.pop_front();
        if let Some(reply) = &said
            && !matches!(reply, Reply::Half(_))
        {
            return Ok(reply.clone());
        }
        let mut ids = Vec::new();
        for (n, posted) in posted.into_iter().enumerate() {
            check(&posted)?;
            if posted.event.key_id.as_deref() == Some(POISON) {
                // What came before it is kept, which is the worst for who sends.
                let body = json!({ "text": "Invalid data format", "code": 6, "invalid-event-number": n });
                return Ok(Reply::status(400, &body.to_string()));
            }
            ids.push(posted.event.id.clone());
            if self.acks.is_none() {
                self.arrived.take(&posted.event.id);
            }
        }
        let mut body = json!({ "text": "Success", "code": 0 });
        if let Some(acks) = &self.acks {
            let mut known = acks.known.lock().unwrap();
            body["ackId"] = json!(known.len());
            known.push((ids, 0));
        }
        Ok(said.unwrap_or_else(|| Reply::status(200, &body.to_string())))
    }

    /// The second question about a request is answered with yes, unless it was lost; the third with no, for it is
    /// forgotten.
    fn ack(&self, body: &[u8]) -> Result<Reply, String> {
        let Some(acks) = &self.acks else { return Err("nobody wants acknowledgements".to_owned()) };
        if acks.disabled {
            return Ok(Reply::status(400, r#"{"text":"ACK is disabled","code":14}"#));
        }
        *acks.questions.lock().unwrap() += 1;
        let asked: HashMap<String, Vec<usize>> =
            serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let mut known = acks.known.lock().unwrap();
        let mut said = serde_json::Map::new();
        for ack in asked.get("acks").ok_or("a list of acks")? {
            let Some((ids, questions)) = known.get_mut(*ack) else {
                said.insert(ack.to_string(), Value::Bool(false));
                continue;
            };
            *questions += 1;
            let indexed = *ack >= acks.loses && *questions == 2;
            if indexed {
                ids.iter().for_each(|id| self.arrived.take(id));
            }
            said.insert(ack.to_string(), Value::Bool(indexed));
        }
        Ok(Reply::status(200, &json!({ "acks": said }).to_string()))
    }
}

fn check(posted: &Posted) -> Result<(), String> {
    let (seconds, millis) = posted.time.get().split_once('.').ok_or("time has a fraction")?;
    must(millis.len() == 3, "three digits of it")?;
    let time = format!("{seconds}{millis}").parse::<i64>().map_err(|error| error.to_string())?;
    must(time == posted.event.time, "the time is the event's")?;
    let named = (posted.host.as_str(), posted.source.as_str(), posted.index.as_str());
    must(named == ("gate-1", "keyward", "security"), "host, source and index")?;
    must(posted.sourcetype == "keyward:json", "the source type")?;
    must(posted.fields["keyward_id"] == posted.event.id, "the id as an indexed field")?;
    must(posted.fields["keyward_type"] == "TEMPORARY_BAN", "the type as an indexed field")
}

/// Forwards a log to a fake.
fn forward(log: &Log, fake: &Fake, own: &str) -> (Running, tempfile::NamedTempFile) {
    let (file, token) = secret(TOKEN);
    let own = format!("token = '{token}'\nindex = 'security'\nhost = 'gate-1'\n{own}");
    (log.forward("splunk", &fake.url, &own), file)
}

#[tokio::test]
async fn every_event_arrives_in_splunk_once() {
    let (splunk, fake) = Splunk::default().listen().await;
    let log = Log::good(20).await;
    let (running, _token) = forward(&log, &fake, "batch = 7");
    let parked = running.finish().await;
    assert_eq!((splunk.arrived.all_but(&log.ids, &parked), parked.len()), (0, 0));
    assert_eq!(splunk.posts.lock().unwrap().len(), 3);
    fake.is_content();
}

#[tokio::test]
async fn what_splunk_does_not_take_is_parked_alone_and_the_rest_arrives() {
    let (splunk, fake) = Splunk::default().listen().await;
    let log = Log::of(&["a", "b", "c", POISON, "d", "e", "f", POISON, "g", "h"]).await;
    let (running, _token) = forward(&log, &fake, "");
    let parked = running.finish().await;
    let of: Vec<&str> = parked.iter().map(|letter| letter.event.id.as_str()).collect();
    assert_eq!(of, [&log.ids[3], &log.ids[7]]);
    assert!(parked[0].reason.contains("Invalid data format"), "{}", parked[0].reason);
    // Three of the first request and six of the second were kept; the third brings all.
    assert_eq!(splunk.arrived.all_but(&log.ids, &parked), 9);
    fake.is_content();
}

#[tokio::test]
async fn more_bad_events_than_are_left_out_one_by_one_are_parked_too() {
    let (splunk, fake) = Splunk::default().listen().await;
    let mut keys = vec![POISON; 30];
    keys[17] = "good";
    let log = Log::of(&keys).await;
    let (running, _token) = forward(&log, &fake, "");
    let parked = running.finish().await;
    assert_eq!((parked.len(), splunk.arrived.count()), (29, 1));
    fake.is_content();
}

#[tokio::test]
async fn a_splunk_in_trouble_gets_everything_later() {
    let taken = json!({ "text": "Success", "code": 0 }).to_string();
    let busy = r#"{"text":"HEC queue is at capacity and cannot process any more requests","code":26}"#;
    let (splunk, fake) = Splunk::saying([
        Reply::after_a_second(429, busy),
        Reply::status(503, r#"{"text":"Server is busy","code":9}"#),
        Reply::Garbage,
        Reply::Half(taken),
        Reply::Silence,
        Reply::status(200, "<html>Please log in</html>"),
        Reply::status(500, r#"{"text":"Internal server error","code":8}"#),
    ])
    .listen()
    .await;
    let log = Log::good(5).await;
    let (running, _token) = forward(&log, &fake, "timeout_seconds = 1");
    let parked = running.finish().await;
    assert_eq!(parked, []);
    // Two of five: the batch was halved by then.
    assert_eq!(splunk.arrived.all_but(&log.ids, &parked), 2, "what half an answer told of came again");
    let posts = splunk.posts.lock().unwrap();
    assert!(posts[1] - posts[0] >= Duration::from_millis(950), "it waits as long as it is asked to");
    fake.is_content();
}

#[tokio::test]
async fn wrong_settings_park_nothing_and_say_the_hint() {
    let wrong = [
        (403, r#"{"text":"Invalid token","code":4}"#, "correct the token"),
        (
            400,
            r#"{"text":"Incorrect index","code":7,"invalid-event-number":0}"#,
            "allow the token this index",
        ),
        (400, r#"{"text":"Data channel is missing","code":10}"#, "set acknowledge = true"),
        (302, "", "redirects are not followed"),
    ];
    let script: Vec<Reply> = wrong.iter().flat_map(|(s, b, _)| vec![Reply::status(*s, b); 2]).collect();
    let (splunk, fake) = Splunk::saying(script).listen().await;
    let log = Log::good(3).await;
    let (running, _token) = forward(&log, &fake, "");
    for (_, _, hint) in wrong {
        running.complains(hint).await;
    }
    let parked = running.finish().await;
    assert_eq!((splunk.arrived.all_but(&log.ids, &parked), parked.len()), (0, 0));
    fake.is_content();
}

#[tokio::test]
async fn a_batch_counts_as_sent_once_splunk_has_indexed_it() {
    let acks = Acks::default();
    let (splunk, fake) = Splunk { acks: Some(acks), ..Splunk::default() }.listen().await;
    let log = Log::good(6).await;
    let (running, _token) = forward(&log, &fake, "acknowledge = true\nbatch = 3");
    let parked = running.finish().await;
    assert_eq!((splunk.arrived.all_but(&log.ids, &parked), parked.len()), (0, 0));
    assert_eq!(*splunk.acks.as_ref().unwrap().questions.lock().unwrap(), 5, "one first, and two for each");
    fake.is_content();
}

#[tokio::test]
async fn what_splunk_loses_on_its_way_to_the_index_is_sent_again() {
    let acks = Acks { loses: 1, ..Acks::default() };
    let (splunk, fake) = Splunk { acks: Some(acks), ..Splunk::default() }.listen().await;
    let log = Log::good(4).await;
    let own = "acknowledge = true\nacknowledge_seconds = 2\ntimeout_seconds = 4";
    let (running, _token) = forward(&log, &fake, own);
    running.complains("has not indexed them yet").await;
    let parked = running.finish().await;
    assert_eq!((splunk.arrived.all_but(&log.ids, &parked), parked.len()), (0, 0));
    assert_eq!(splunk.posts.lock().unwrap().len(), 2);
    fake.is_content();
}

#[tokio::test]
async fn what_is_on_its_way_holds_up_no_other_events_and_is_not_sent_again() {
    let acks = Acks { loses: 1, ..Acks::default() };
    let (splunk, fake) = Splunk { acks: Some(acks), ..Splunk::default() }.listen().await;
    let log = Log::good(4).await;
    let (_file, token) = secret(TOKEN);
    let own = format!(
        "token = '{token}'\nindex = 'security'\nhost = 'gate-1'\nacknowledge = true\ntimeout_seconds = 4"
    );
    let (sink, context) = log.sink("splunk", &fake.url, &own);
    let mut sink = sink.open(&context).unwrap();
    let (lost, others) = log.events.split_at(2);
    assert!(matches!(sink.send(lost).await, Err(SendError { kind: SendErrorKind::Busy { .. }, .. })));
    sink.send(others).await.unwrap();
    assert!(matches!(sink.send(lost).await, Err(SendError { kind: SendErrorKind::Busy { .. }, .. })));
    assert_eq!((splunk.posts.lock().unwrap().len(), splunk.arrived.count()), (2, 2));
    fake.is_content();
}

#[tokio::test]
async fn without_acknowledgement_in_the_token_nothing_is_sent_again_and_again() {
    let acks = Acks { disabled: true, ..Acks::default() };
    let (splunk, fake) = Splunk { acks: Some(acks), ..Splunk::default() }.listen().await;
    let log = Log::good(4).await;
    let (running, _token) = forward(&log, &fake, "acknowledge = true");
    running.complains("enable indexer acknowledgement").await;
    assert_eq!(running.end().await, []);
    assert_eq!(splunk.posts.lock().unwrap().len(), 0);
    fake.is_content();
}
