//! How often a caller waits for Redis: a batch of settlements, and limits that are in another slot of a Cluster.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures::future::join_all;
use keyward::domain::{DAY, decision::Settlement, reservation::HoldTerms, subject::Subject};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    redis_server::{Cluster, Server},
    reservations::{engine, trips, with_a_limit},
    store::support::START,
    support::*,
};

/// How many records a batch has.
const RECORDS: usize = 100;
/// As [`redis`] has it.
const PARTITIONS: u16 = 4;

/// A proxy before a server that passes no answer on until so many scripts were asked for.
struct Gate {
    url: String,
    asked: watch::Sender<usize>,
    opens_at: Arc<AtomicUsize>,
}

impl Gate {
    async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (asked, opens_at) = (watch::Sender::new(0), Arc::new(AtomicUsize::new(0)));
        let gate = Self { url, asked: asked.clone(), opens_at: opens_at.clone() };
        let port = server.port;
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let ((asks, answered), (answers, passed)) = (client.into_split(), server.into_split());
                tokio::spawn(pass_questions(asks, passed, asked.clone()));
                tokio::spawn(pass_answers(answers, answered, asked.subscribe(), opens_at.clone()));
            }
        });
        gate
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Holds answers back until so many scripts more were asked for.
    fn hold(&self, scripts: usize) {
        self.opens_at.store(self.asked() + scripts, SeqCst);
    }
}

async fn pass_questions(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    asked: watch::Sender<usize>,
) {
    let (mut bytes, mut seen) = (vec![0; 1 << 16], Vec::new());
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        seen.extend_from_slice(&bytes[..read]);
        asked.send_modify(|asked| *asked += scripts(&mut seen));
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

async fn pass_answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut asked: watch::Receiver<usize>,
    opens_at: Arc<AtomicUsize>,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let is_open = asked.wait_for(|asked| *asked >= opens_at.load(SeqCst)).await.is_ok();
        if !is_open || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// How many scripts were asked for in what was seen; what may be the beginning of another one is left.
fn scripts(seen: &mut Vec<u8>) -> usize {
    const COMMAND: &[u8] = b"EVALSHA";
    let (mut found, mut at) = (0, 0);
    while at + COMMAND.len() <= seen.len() {
        let is_one = seen[at..].starts_with(COMMAND);
        (found, at) = if is_one { (found + 1, at + COMMAND.len()) } else { (found, at + 1) };
    }
    seen.drain(..at);
    found
}

#[test]
fn scripts_are_counted_once_however_their_names_are_cut() {
    let sent = b"*3\r\n$7\r\nEVALSHA\r\n..EVALSHAEVALSHA..EVAL";
    for size in 1..sent.len() {
        let mut seen = Vec::new();
        let found = sent.chunks(size).map(|chunk| {
            seen.extend_from_slice(chunk);
            scripts(&mut seen)
        });
        assert_eq!(found.sum::<usize>(), 3, "in pieces of {size}");
    }
}

/// A hundred answers are held back until a hundred questions are on their way: who waited for one before the next would
/// wait for ever.
#[tokio::test]
async fn a_batch_of_settling_records_is_sent_whole_before_any_answer_comes_back() {
    let server = Server::start(&[]);
    let gate = Gate::before(&server).await;
    let engine = engine(redis(&gate.url, "kw").await).await;
    let intake = intake(DAY);
    let asked = |fields: serde_json::Value| record(&intake, "a", fields, START);
    let settling = async || {
        let estimate = asked(json!({"tokens_used": 5}));
        let held = engine.reserve(&estimate, HoldTerms::default(), START).await.reserved.unwrap();
        asked(json!({"tokens_used": 2, "reservation_id": &*held.id}))
    };
    // The script is known, and the key at hand.
    assert_eq!(engine.record(&[settling().await], START).await[0].settlement, Some(Settlement::Settled));
    let many = join_all((0..RECORDS).map(|_| settling())).await;
    let before = gate.asked();
    gate.hold(RECORDS);
    let settled = engine.record(&many, START).await;
    assert!(settled.iter().all(|one| one.settlement == Some(Settlement::Settled)), "{:?}", settled[0]);
    assert_eq!(gate.asked() - before, RECORDS);
}

/// Of a key in the slot of its project, and of one in another: each script is one trip, after that before.
#[tokio::test]
async fn on_a_cluster_a_limit_in_another_slot_takes_two_trips_more_to_reserve_and_one_more_to_settle() {
    let cluster = Cluster::start();
    let engine = engine(redis(&cluster.url(), "kw").await).await;
    with_a_limit(&engine, 1_000_000, START).await;
    let intake = intake(DAY);
    let reset = || cluster.servers.iter().for_each(|server| drop(server.cli(&["CONFIG", "RESETSTAT"])));
    let took = || cluster.servers.iter().map(trips).sum::<u64>();
    let place = Subject::project("shared").partition(PARTITIONS);
    let named = |is_there: bool| {
        let is_so = |name: &String| (Subject::key(name).partition(PARTITIONS) == place) == is_there;
        (0..).map(|n| format!("key-{n}")).find(is_so).unwrap()
    };
    for (name, to_reserve, to_settle) in [(named(true), 1, 1), (named(false), 3, 2)] {
        let asked = |fields: serde_json::Value| record(&intake, &name, fields, START);
        // At first scripts are not known everywhere.
        for is_measured in [false, true] {
            reset();
            let estimate = asked(json!({"project_id": "shared", "tokens_used": 50}));
            let held = engine.reserve(&estimate, HoldTerms::default(), START).await.reserved.unwrap();
            assert!(!is_measured || took() == to_reserve, "{name}: {} to reserve", took());
            reset();
            let fields = json!({"project_id": "shared", "tokens_used": 20, "reservation_id": &*held.id});
            let settled = engine.record(&[asked(fields)], START).await.remove(0);
            assert_eq!(settled.settlement, Some(Settlement::Settled));
            assert!(!is_measured || took() == to_settle, "{name}: {} to settle", took());
        }
    }
    let used = engine.limits().of(&Subject::project("shared"), START).await.unwrap();
    assert_eq!((used[0].status.used, used[0].held), (4 * 20, Some(0)));
}
