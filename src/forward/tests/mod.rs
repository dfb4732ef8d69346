//! Forwarding with sinks that do as they are told, over the embedded store in memory and on paused time.

mod delivery;
mod settings;
mod takeover;
mod ticks;

use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Filter, SendError, SendErrorKind, SendReport, Sender, Sink, SinkContext, SinkSettings, Status};
use crate::{
    clock,
    domain::{
        Millis,
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    store::{
        Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};

/// How a sink answers: by the batch, and how many it was sent before.
type Answer = Box<dyn FnMut(&[Event], usize) -> Result<SendReport, SendError> + Send + Sync>;

/// What the sink at the other end has seen.
#[derive(Default)]
struct Seen {
    /// Ids, as they came.
    taken: Vec<String>,
    batches: Vec<usize>,
    calls: usize,
}

impl Seen {
    fn note(&mut self, events: &[Event], answered: &Result<SendReport, SendError>) {
        self.calls += 1;
        let Ok(sent) = answered else { return };
        let refused = |n: &usize| sent.refused.iter().any(|(place, _)| place == n);
        self.taken.extend((0..events.len()).filter(|n| !refused(n)).map(|n| events[n].id.clone()));
        self.batches.push(events.len());
    }
}

/// How long the sink at the other end takes to answer.
const LATENCY: std::time::Duration = std::time::Duration::from_millis(200);

struct Fake {
    answer: Answer,
    seen: Arc<Mutex<Seen>>,
}

impl Sink for Fake {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            let calls = self.seen.lock().calls;
            let answered = (self.answer)(events, calls);
            self.seen.lock().note(events, &answered);
            // It has them; the answer takes a moment.
            clock::sleep(LATENCY).await;
            answered
        })
    }
}

/// A service with a log, a clock that follows the paused time, and sinks that seem to be there.
struct House {
    store: Arc<dyn Store>,
    began: clock::Instant,
    logged: Arc<Mutex<Vec<Event>>>,
}

const START: Millis = 1_760_000_000_000;

impl House {
    fn new() -> Self {
        let store = EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap();
        Self { store: Arc::new(store), began: clock::instant(), logged: Arc::default() }
    }

    fn context(&self, instance: &str) -> SinkContext {
        let (began, logged) = (self.began, self.logged.clone());
        SinkContext {
            store: self.store.clone(),
            now: Arc::new(move || START + began.elapsed().as_millis() as Millis),
            log_event: Arc::new(move |event| logged.lock().push(event)),
            replace_key: None,
            instance: instance.to_owned(),
            log_changes: None,
        }
    }

    /// Appends events about a few subjects; their ids in order.
    async fn append(&self, count: usize) -> Vec<String> {
        let event = |n: usize| {
            let subject = Subject::key(&format!("k{}", n % 5));
            let severity = if n.is_multiple_of(10) { Severity::Critical } else { Severity::Low };
            Event::new(START + n as Millis, EventType::Throttled, severity, Some(subject))
        };
        let events: Vec<Event> = (0..count).map(event).collect();
        self.store.append(&events).await.unwrap().into_iter().map(|event| event.id).collect()
    }

    /// An instance that sends.
    fn send(&self, instance: &str, settings: &str, answer: Answer) -> Sending {
        let seen = Arc::<Mutex<Seen>>::default();
        let sink = Box::new(Fake { answer, seen: seen.clone() });
        self.send_by(instance, settings, sink, seen)
    }

    /// The same by any sink.
    fn send_by(
        &self,
        instance: &str,
        settings: &str,
        sink: Box<dyn Sink>,
        seen: Arc<Mutex<Seen>>,
    ) -> Sending {
        let settings = SinkSettings::read(toml::from_str(settings).unwrap()).unwrap();
        let stop = CancellationToken::new();
        let common = settings.common().clone();
        let status = Arc::new(Status::new(&common.name, common.kind));
        let sender = Sender::new(common, sink, self.context(instance), status.clone(), stop.clone());
        Sending { seen, status, stop, task: tokio::spawn(sender.run()) }
    }
}

/// A sender at work.
struct Sending {
    seen: Arc<Mutex<Seen>>,
    status: Arc<Status>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Sending {
    /// Waits, on paused time, until this many are taken.
    async fn until_taken(&self, count: usize) {
        self.until(|seen| seen.taken.len() >= count).await;
    }

    async fn until(&self, done: impl Fn(&Seen) -> bool) {
        for _ in 0..100_000 {
            if done(&self.seen.lock()) {
                return;
            }
            clock::sleep(std::time::Duration::from_millis(50)).await;
        }
        let seen = self.seen.lock();
        panic!("it never came to that: {} taken in {} calls", seen.taken.len(), seen.calls);
    }

    fn taken(&self) -> Vec<String> {
        self.seen.lock().taken.clone()
    }

    /// As at a proper shutdown.
    async fn finish(self) -> Vec<String> {
        self.stop.cancel();
        self.task.await.unwrap();
        let seen = self.seen.lock();
        seen.taken.clone()
    }

    /// As with `kill -9`.
    fn kill(self) -> Vec<String> {
        self.task.abort();
        self.taken()
    }
}

/// Ids of what [`House::append`] appended in one go, those of each subject apart.
fn by_subject(ids: &[String]) -> [Vec<String>; 5] {
    let of = |id: &String| id.rsplit('-').next().and_then(|n| n.parse::<usize>().ok()).unwrap() - 1;
    std::array::from_fn(|subject| ids.iter().filter(|id| of(id) % 5 == subject).cloned().collect())
}

fn busy(why: &str, retry_after: std::time::Duration) -> SendError {
    SendError::new(SendErrorKind::Busy { retry_after: Some(retry_after) }, why)
}

fn always() -> Answer {
    Box::new(|_, _| Ok(SendReport::default()))
}

const SINK: &str = "name = \"siem\"\ntype = \"stdout\"\nstart = \"beginning\"\n";
