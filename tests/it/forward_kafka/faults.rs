//! Whatever a cluster may do: nothing is lost, nothing overtakes, and twice comes only what cannot be known to have
//! come.

use keyward::forward::SendErrorKind;

use super::{
    fake::{Fake, Nature, Trouble, gaps},
    *,
};
use crate::support::eventually;

/// Sends so many events while these troubles come, and checks what arrived. Returns how many came twice.
async fn through(troubles: &[Trouble], count: usize, own: &str) -> usize {
    let fake = Fake::start(Nature::default()).await;
    fake.script(troubles);
    let mut run = start(&(plain(&fake.brokers) + own));
    run.append(count).await;
    run.all_sent().await;
    let (sent, parked) = run.finish().await;
    assert!(fake.is_over(), "{troubles:?}");
    let outcome = compare(&fake.read(), &sent);
    assert_eq!((outcome.missing, parked.len()), (0, 0), "{troubles:?}");
    outcome.twice
}

#[tokio::test]
async fn what_one_partition_does_not_take_does_not_come_twice_elsewhere() {
    let codes = [3, 5, 6, 7, 8, 9, 13, 19, 20, 56, 74, 75, 89, -1, 2, 29];
    let runs = codes.map(async |code| {
        let troubles =
            [[0, 2].as_slice(), &[2], &[1, 2, 3]].map(|partitions| Trouble::Error(partitions, code));
        assert_eq!(through(&troubles, 300, "batch = 100").await, 0, "{code}");
    });
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn answers_that_are_none_lose_nothing() {
    for trouble in [
        Trouble::HangUp,
        Trouble::Garbage,
        Trouble::Bomb,
        Trouble::Oversized,
        Trouble::Another,
        Trouble::Nothing,
    ] {
        assert_eq!(through(&[trouble; 2], 200, "batch = 100").await, 0, "{trouble:?}");
    }
}

#[tokio::test]
async fn what_may_have_been_kept_is_sent_again_once() {
    for trouble in [Trouble::HangUpAfter, Trouble::Half] {
        assert_eq!(through(&[trouble], 200, "batch = 100").await, 100, "{trouble:?}");
    }
}

#[tokio::test]
async fn a_broker_that_says_nothing_is_not_waited_for_without_end() {
    assert_eq!(through(&[Trouble::Silence], 50, "timeout_seconds = 1").await, 0);
}

#[tokio::test]
async fn a_broker_that_wants_to_be_left_alone_is_left_alone() {
    let fake = Fake::start(Nature::default()).await;
    fake.script(&[Trouble::Throttle(400), Trouble::Throttle(400)]);
    let mut run = start(&(plain(&fake.brokers) + "batch = 10"));
    run.append(30).await;
    run.all_sent().await;
    assert_eq!(run.error(), "", "a short rest is no failure");
    let asked = fake.state.lock().unwrap().asked.clone();
    assert!(asked.len() == 3 && gaps(&asked).iter().all(|gap| gap.as_millis() >= 400), "{:?}", gaps(&asked));
    let (sent, _) = run.finish().await;
    assert_eq!(compare(&fake.read(), &sent).twice, 0);
}

#[tokio::test]
async fn a_long_rest_is_left_to_the_sender() {
    let fake = Fake::start(Nature::default()).await;
    fake.script(&[Trouble::Throttle(1_000)]);
    let mut run = start(&(plain(&fake.brokers) + "batch = 10\ntimeout_seconds = 2"));
    run.append(20).await;
    complains(&run, "wants to be left alone").await;
    run.all_sent().await;
    let asked = fake.state.lock().unwrap().asked.clone();
    assert!(asked.len() == 2 && gaps(&asked)[0].as_millis() >= 1_000, "{:?}", gaps(&asked));
    run.finish().await;
}

/// An event about this subject.
fn about(name: &str, summary: usize) -> Event {
    let mut event = event(1);
    event.subject = Some(Subject::key(name));
    event.evidence = serde_json::from_value(json!({"number": 1, "summary": "x".repeat(summary)})).unwrap();
    event
}

#[tokio::test]
async fn the_one_event_that_is_too_large_is_put_aside_and_the_others_arrive() {
    let fake = Fake::start(Nature { most: 6_000, ..Nature::default() }).await;
    let mut run = start(&plain(&fake.brokers));
    run.append(100).await;
    let large = run.append_these(vec![about("large", 6_000)]).await;
    run.append(100).await;
    run.all_sent().await;
    let (mut sent, parked) = run.finish().await;
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].event.id, large[0]);
    assert!(parked[0].reason.starts_with("MESSAGE_TOO_LARGE (10)"), "{}", parked[0].reason);
    sent.remove(&large[0]);
    let outcome = compare(&fake.read(), &sent);
    assert_eq!((outcome.missing, outcome.twice), (0, 0));
}

#[tokio::test]
async fn events_that_a_broker_finds_wrong_are_put_aside_whether_it_names_them_or_not() {
    // Those of Kafka 2.0 do not name them.
    for newest in [12, 6] {
        let versions = vec![[0, 0, newest], [3, 0, 6], [18, 0, 2]];
        let fake = Fake::start(Nature { versions, partitions: 1, ..Nature::default() }).await;
        let mut run = start(&plain(&fake.brokers));
        let mut poison = Vec::new();
        for _ in 0..3 {
            run.append(40).await;
            poison.extend(run.append_these(vec![about("poison", 0)]).await);
        }
        run.append(40).await;
        run.all_sent().await;
        let (mut sent, parked) = run.finish().await;
        let mut aside: Vec<String> = parked.iter().map(|letter| letter.event.id.clone()).collect();
        aside.sort();
        poison.sort();
        assert_eq!(aside, poison);
        for letter in &parked {
            assert!(letter.reason.starts_with("INVALID_RECORD (87)"), "{}", letter.reason);
            assert_eq!(letter.reason.contains("it is poisoned"), newest == 12, "{}", letter.reason);
        }
        sent.retain(|id, _| !poison.contains(id));
        let outcome = compare(&fake.read(), &sent);
        assert_eq!((outcome.missing, outcome.twice), (0, 0));
    }
}

#[tokio::test]
async fn partitions_are_followed_to_where_they_are_led() {
    let fake = Fake::start(Nature::default()).await;
    let mut run = start(&(plain(&fake.brokers) + "batch = 20"));
    for step in 0..8 {
        fake.state.lock().unwrap().leaders = (0..4).map(|n| (n + step) % 2 + 1).collect();
        run.append(100).await;
        run.all_sent().await;
    }
    let (sent, _) = run.finish().await;
    let outcome = compare(&fake.read(), &sent);
    assert_eq!((outcome.missing, outcome.twice), (0, 0));
}

#[tokio::test]
async fn an_address_that_the_cluster_names_is_checked_as_those_in_the_settings_are() {
    for host in ["127.0.0.2", "169.254.169.254", "[::1]", "a b"] {
        let fake = Fake::start(Nature { host, ..Nature::default() }).await;
        let mut run = start(&plain(&fake.brokers));
        run.append(1).await;
        let says = if host == "127.0.0.2" { "127.0.0.2 is a loopback address" } else { host };
        complains(&run, says).await;
        run.finish().await;
        assert!(fake.state.lock().unwrap().asked.is_empty());
    }
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_waited_for() {
    for (error, says) in [
        (3, "topic keyward.events is not there: create it, or correct topic"),
        (
            29,
            "TOPIC_AUTHORIZATION_FAILED (29): topic keyward.events: the user needs the permissions DESCRIBE and WRITE",
        ),
        (5, "LEADER_NOT_AVAILABLE (5)"),
    ] {
        let fake = Fake::start(Nature { topic_error: error, ..Nature::default() }).await;
        let mut run = start(&plain(&fake.brokers));
        run.append(10).await;
        complains(&run, says).await;
        fake.state.lock().unwrap().topic_error = 0;
        run.all_sent().await;
        let (sent, parked) = run.finish().await;
        assert_eq!((compare(&fake.read(), &sent).missing, parked.len()), (0, 0));
    }
}

#[tokio::test]
async fn who_may_not_write_is_told_so_and_nothing_is_put_aside() {
    let fake = Fake::start(Nature::default()).await;
    fake.script(&[Trouble::Error(&[0, 1, 2, 3], 29); 8]);
    let mut run = start(&plain(&fake.brokers));
    run.append(10).await;
    complains(&run, "the user needs the permissions DESCRIBE and WRITE for the topic").await;
    run.all_sent().await;
    let (sent, parked) = run.finish().await;
    assert_eq!((compare(&fake.read(), &sent).missing, parked.len()), (0, 0));
}

#[tokio::test]
async fn versions_of_old_and_new_brokers_are_spoken_and_those_of_none_are_not() {
    for newest in [[3, 1], [5, 5], [7, 7], [8, 8], [12, 13]] {
        let versions = vec![[0, 3, newest[0]], [3, 0, newest[1]], [18, 0, 4]];
        let fake = Fake::start(Nature { versions, ..Nature::default() }).await;
        let mut run = start(&plain(&fake.brokers));
        run.append(100).await;
        run.all_sent().await;
        let (sent, _) = run.finish().await;
        assert_eq!(compare(&fake.read(), &sent).missing, 0, "{newest:?}");
    }
    for (produce, says) in
        [([0, 0, 2], "versions 0 to 2 of Produce"), ([0, 9, 12], "versions 9 to 12 of Produce")]
    {
        let fake =
            Fake::start(Nature { versions: vec![produce, [3, 0, 8], [18, 0, 2]], ..Nature::default() }).await;
        let mut run = start(&plain(&fake.brokers));
        run.append(1).await;
        complains(&run, says).await;
        run.finish().await;
    }
}

/// Somebody else listens there.
#[tokio::test]
async fn what_is_no_broker_is_said_to_be_none() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for says in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\x15\x03\x03\x00\x02\x02\x46", b""] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = plain(&listener.local_addr().unwrap().to_string());
        let other = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut heard = [0; 64];
                let _ = stream.read(&mut heard).await;
                let _ = stream.write_all(says).await;
            }
        });
        let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
        let mut sink = sink(&own).open(&sink_context(store)).unwrap();
        let why = sink.test(&event(1)).await.unwrap_err();
        assert!(
            why.kind == SendErrorKind::Unreachable && why.to_string().starts_with("broker 127.0.0.1:"),
            "{why}"
        );
        assert!(says.is_empty() || why.to_string().contains("is it Kafka, and TLS as tls says?"), "{why}");
        other.abort();
    }
}

/// Kafka refuses a time that is negative.
#[tokio::test]
async fn an_event_from_before_1970_is_taken() {
    let fake = Fake::start(Nature::default()).await;
    let mut run = start(&plain(&fake.brokers));
    let mut old = event(7);
    old.time = -5;
    let ids = run.append_these(vec![old]).await;
    run.all_sent().await;
    eventually("it is there", async || fake.read().len() == 1).await;
    let arrived = fake.read();
    assert_eq!((arrived[0].time, &arrived[0].headers[0].1), (0, &ids[0]));
    run.finish().await;
}
