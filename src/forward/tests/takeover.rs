//! Several instances, and instances that die.

use super::*;

use crate::clock;

#[tokio::test(start_paused = true)]
async fn two_instances_send_each_event_once() {
    let house = House::new();
    let mut ids = house.append(700).await;
    let (a, b) = (house.send("a", SINK, always()), house.send("b", SINK, always()));
    for _ in 0..20 {
        ids.extend(house.append(10).await);
        clock::sleep(std::time::Duration::from_millis(333)).await;
    }
    clock::sleep(std::time::Duration::from_secs(1)).await;
    let leading = [a.status.show(START).leading, b.status.show(START).leading];
    assert_eq!(leading.iter().filter(|leads| **leads).count(), 1);
    let (mut taken, from_b) = (a.finish().await, b.finish().await);
    assert!(taken.is_empty() || from_b.is_empty());
    taken.extend(from_b);
    assert_eq!(taken, ids);
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_within_seconds_when_the_sender_dies_in_mid_batch() {
    let house = House::new();
    let ids = house.append(5_000).await;
    let mut taken = Vec::new();
    let mut duplicates = 0;
    for round in 0..10 {
        let sending = house.send(&format!("i{round}"), SINK, always());
        let began = clock::instant();
        sending.until_taken(1).await;
        assert!(began.elapsed() <= super::super::LEASE + std::time::Duration::from_secs(2));
        sending.until_taken(101 + 37 * round).await;
        let part = sending.kill();
        duplicates += part.iter().filter(|id| taken.contains(*id)).count();
        taken.extend(part);
    }
    let last = house.send("last", SINK, always());
    last.until(|seen| seen.taken.last() == ids.last()).await;
    let part = last.finish().await;
    duplicates += part.iter().filter(|id| taken.contains(*id)).count();
    taken.extend(part);
    // At most the batch that was on its way is there twice.
    assert!(duplicates <= 10 * 100, "{duplicates}");
    assert_eq!(taken.len(), ids.len() + duplicates);
    // First appearances are in order: nothing is lost, and nobody's events change places.
    let mut seen = std::collections::HashSet::new();
    taken.retain(|id| seen.insert(id.clone()));
    assert_eq!(taken, ids);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_lost_its_lease_moves_nothing_any_more() {
    let house = House::new();
    let ids = house.append(10).await;
    // It is stuck in a batch for longer than its lease, as a paused process would be.
    let slow = house.send("slow", &format!("{SINK}timeout_seconds = 300"), {
        let store = house.store.clone();
        Box::new(move |_, _| {
            // Meanwhile another has taken the lease over.
            let later = START + 10_000_000;
            let taken = futures::executor::block_on(store.lead_sink("siem", "other", later, later + 4_000));
            assert!(taken.unwrap().is_some());
            Ok(SendReport::default())
        })
    });
    slow.until_taken(10).await;
    clock::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(slow.taken(), ids);
    assert!(!slow.status.show(START).leading);
    let record = house.store.sink("siem").await.unwrap().unwrap();
    assert_eq!((record.owner.as_str(), record.position), ("other", None));
    slow.kill();
}
