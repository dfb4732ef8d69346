//! With librdkafka's mock cluster of three brokers.

use super::{kcat::Cluster, *};

const EVENTS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn kcat_reads_every_event_once_where_the_java_client_would_have_put_it() {
    let mut cluster = Cluster::start(12);
    let mut run = start(&plain(&cluster.brokers));
    for _ in 0..EVENTS / 500 {
        run.append(500).await;
    }
    run.all_sent().await;
    let (sent, parked) = run.finish().await;
    let arrived = cluster.read();
    let outcome = compare(&arrived, &sent);
    assert_eq!((outcome.missing, outcome.twice, parked.len()), (0, 0, 0));
    let mut partitions = std::collections::BTreeMap::new();
    for message in &arrived {
        partitions.insert(message.key.clone().unwrap_or_default(), message.partition);
    }
    assert_eq!(partitions.len(), SUBJECTS + 1);
    for (key, partition) in partitions {
        assert_eq!(cluster.partition(&key), partition, "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_when_brokers_fail_and_partitions_move_meanwhile() {
    let mut cluster = Cluster::start(12);
    let mut run = start(&plain(&cluster.brokers));
    for step in 0..EVENTS / 500 {
        run.append(500).await;
        match step {
            3 => drop(cluster.order("down -1")),
            5 => drop(cluster.order("up -1")),
            6 | 7 => (0..12).for_each(|n| drop(cluster.order(&format!("leader {n} {}", (n + step) % 3 + 1)))),
            // In the middle of what it does: not the leader, too few replicas, out of time, hung up, a disk that fails.
            9 => drop(cluster.order("errors 6 19 7 -195 56 -195 5 3 -195")),
            12 => drop(cluster.order("down 2")),
            14 => (0..12).for_each(|n| drop(cluster.order(&format!("leader {n} {}", n % 2 * 2 + 1)))),
            17 => drop(cluster.order("up 2")),
            _ => {}
        }
    }
    run.all_sent().await;
    let (sent, parked) = run.finish().await;
    let outcome = compare(&cluster.read(), &sent);
    println!("{} came twice", outcome.twice);
    assert_eq!((outcome.missing, parked.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_brokers_are_down_and_come_back() {
    let mut cluster = Cluster::start(3);
    cluster.order("down -1");
    let mut run = start(&plain(&cluster.brokers));
    run.append(100).await;
    complains(&run, "Connection refused").await;
    cluster.order("up -1");
    run.all_sent().await;
    let (sent, _) = run.finish().await;
    assert_eq!(compare(&cluster.read(), &sent).missing, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_holds_up_and_loses_nothing() {
    let mut cluster = Cluster::start(3);
    cluster.order("leader 1 -1");
    let mut run = start(&plain(&cluster.brokers));
    run.append(200).await;
    complains(&run, "partition 1 of keyward.events has no leader now").await;
    cluster.order("leader 1 2");
    run.all_sent().await;
    let (sent, _) = run.finish().await;
    let outcome = compare(&cluster.read(), &sent);
    assert_eq!((outcome.missing, outcome.twice), (0, 0));
}
