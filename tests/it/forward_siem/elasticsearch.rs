//! Elasticsearch and OpenSearch.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{
    Arrived, Log, POISON, Running,
    fake::{Fake, Reply, Request},
    must, secret,
};

/// A cluster with one data stream.
#[derive(Default)]
struct Cluster {
    arrived: Arrived,
    /// Said instead of an answer, one a request. What is `Half` is said once the documents are there.
    script: Mutex<VecDeque<Reply>>,
    /// So many requests get a 429 for their second document.
    rejects: Mutex<usize>,
    conflicts: Mutex<usize>,
}

impl Cluster {
    async fn listen(self) -> (Arc<Self>, Fake) {
        let cluster = Arc::new(self);
        let listens = cluster.clone();
        (cluster, Fake::start(move |request| listens.answer(request)).await)
    }

    fn answer(&self, request: &Request) -> Result<Reply, String> {
        must(request.method == "POST", "POST")?;
        must(request.path == "/logs-keyward.events-default/_bulk", "the data stream")?;
        must(request.query.starts_with("filter_path=items.") && !request.query.contains('&'), "the filter")?;
        must(request.header("authorization") == "ApiKey aWQ6a2V5", "the API key")?;
        must(request.header("content-type") == "application/x-ndjson", "the content type")?;
        let said = self.script.lock().unwrap().pop_front();
        if let Some(reply) = &said
            && !matches!(reply, Reply::Half(_))
        {
            return Ok(reply.clone());
        }
        let body = String::from_utf8(request.body.clone()).map_err(|error| error.to_string())?;
        must(body.ends_with('\n') && !body.contains("\n\n"), "every line ends, none is empty")?;
        let lines: Vec<Value> = body
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        must(lines.len().is_multiple_of(2), "pairs of lines")?;
        let mut rejects = self.rejects.lock().unwrap();
        let rejecting = *rejects > 0;
        *rejects = rejects.saturating_sub(1);
        let items: Vec<Value> = lines
            .chunks(2)
            .enumerate()
            .map(|(n, pair)| self.create(&pair[0], &pair[1], rejecting && n == 1))
            .collect::<Result<_, _>>()?;
        Ok(match said {
            Some(_) => Reply::Half(json!({ "items": items }).to_string()),
            None => Reply::status(200, &json!({ "items": items }).to_string()),
        })
    }

    fn create(&self, action: &Value, document: &Value, reject: bool) -> Result<Value, String> {
        must(action.as_object().is_some_and(|action| action.len() == 1), "one action")?;
        must(
            action["create"].as_object().is_some_and(|create| create.len() == 1),
            "create, with an id alone",
        )?;
        let id = action["create"]["_id"].as_str().ok_or("an id")?;
        must(!id.is_empty() && id.len() <= 512, "an id of 1 to 512 bytes")?;
        must(document["@timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "a time")?;
        must(document["event"]["id"] == id && document["ecs"]["version"].is_string(), "an ECS document")?;
        let error = |status: u16, kind: &str, reason: &str| {
            let error = json!({ "type": kind, "reason": reason, "caused_by": { "reason": "because" } });
            Ok(json!({ "create": { "status": status, "error": error } }))
        };
        if reject {
            return error(429, "es_rejected_execution_exception", "the queue is full");
        }
        if document["user"]["id"] == POISON {
            return error(400, "document_parsing_exception", "failed to parse field [user.id]");
        }
        if self.arrived.holds(id) {
            *self.conflicts.lock().unwrap() += 1;
            return error(409, "version_conflict_engine_exception", "document already exists");
        }
        self.arrived.take(id);
        Ok(json!({ "create": { "status": 201 } }))
    }
}

fn forward(log: &Log, fake: &Fake, own: &str) -> (Running, tempfile::NamedTempFile) {
    let (file, key) = secret("aWQ6a2V5\n");
    (log.forward("elasticsearch", &fake.url, &format!("api_key = '{key}'\n{own}")), file)
}

#[tokio::test]
async fn every_event_becomes_a_document_and_what_cannot_be_mapped_is_parked() {
    let (cluster, fake) = Cluster::default().listen().await;
    let log = Log::of(&["a", POISON, "b", "c", POISON, "d"]).await;
    let (running, _key) = forward(&log, &fake, "batch = 4");
    let parked = running.finish().await;
    assert_eq!(parked.len(), 2);
    let reason = "status 400, document_parsing_exception: failed to parse field [user.id]: because";
    assert!(parked.iter().all(|letter| letter.reason == reason), "{}", parked[0].reason);
    assert_eq!(cluster.arrived.all_but(&log.ids, &parked), 0);
    assert_eq!(*cluster.conflicts.lock().unwrap(), 0, "nothing was sent twice");
    fake.is_content();
}

#[tokio::test]
async fn what_is_sent_again_is_there_once() {
    let cluster = Cluster {
        script: Mutex::new([Reply::Half(String::new()), Reply::Garbage, Reply::Silence].into()),
        rejects: Mutex::new(2),
        ..Cluster::default()
    };
    let (cluster, fake) = cluster.listen().await;
    let log = Log::of(&["a", "b", "c", POISON, "d"]).await;
    let (running, _key) = forward(&log, &fake, "timeout_seconds = 1");
    let parked = running.finish().await;
    assert_eq!((cluster.arrived.all_but(&log.ids, &parked), parked.len()), (0, 1));
    assert_eq!(
        *cluster.conflicts.lock().unwrap(),
        4,
        "in smaller batches: what was there before is there once"
    );
    fake.is_content();
}

#[tokio::test]
async fn a_cluster_that_does_not_let_us_in_or_is_full_gets_everything_later() {
    let error = |status: u16, kind: &str| {
        json!({ "error": { "type": kind, "reason": "no" }, "status": status }).to_string()
    };
    let wrong = [
        (401, "security_exception"),
        (404, "index_not_found_exception"),
        (400, "index_closed_exception"),
        (429, "circuit_breaking_exception"),
    ];
    let reply = |(status, kind): &(u16, &str)| vec![Reply::status(*status, &error(*status, kind)); 2];
    let script = Mutex::new(wrong.iter().flat_map(reply).collect());
    let (cluster, fake) = Cluster { script, ..Cluster::default() }.listen().await;
    let log = Log::good(3).await;
    let (running, _key) = forward(&log, &fake, "");
    for (_, kind) in wrong {
        running.complains(kind).await;
    }
    let parked = running.finish().await;
    assert_eq!((cluster.arrived.all_but(&log.ids, &parked), parked.len()), (0, 0));
    fake.is_content();
}

#[tokio::test]
async fn a_request_that_is_too_large_is_sent_in_parts() {
    let script = Mutex::new([Reply::status(413, ""), Reply::status(413, "")].into());
    let (cluster, fake) = Cluster { script, ..Cluster::default() }.listen().await;
    let log = Log::good(9).await;
    let (running, _key) = forward(&log, &fake, "");
    let parked = running.finish().await;
    assert_eq!((cluster.arrived.all_but(&log.ids, &parked), parked.len()), (0, 0));
    fake.is_content();
}
