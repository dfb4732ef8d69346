//! What becomes of events when a sink takes them, refuses them, or does not answer.

use super::*;

use crate::clock;

#[tokio::test(start_paused = true)]
async fn every_event_is_sent_once_and_in_order() {
    let house = House::new();
    let mut ids = house.append(2_345).await;
    let sending = house.send("a", SINK, always());
    sending.until_taken(2_345).await;
    ids.extend(house.append(3).await);
    sending.until_taken(2_348).await;
    let most = *sending.seen.lock().batches.iter().max().unwrap();
    assert_eq!(most, 100);
    assert_eq!(sending.finish().await, ids);
}

#[tokio::test(start_paused = true)]
async fn a_new_sink_begins_with_what_happens_from_now_on() {
    let house = House::new();
    house.append(20).await;
    let sending = house.send("a", "name = \"siem\"\ntype = \"stdout\"\n", always());
    clock::sleep(std::time::Duration::from_secs(2)).await;
    let ids = house.append(3).await;
    sending.until_taken(3).await;
    assert_eq!(sending.finish().await, ids);
    // From here on it has a cursor.
    let more = house.append(4).await;
    let sending = house.send("b", "name = \"siem\"\ntype = \"stdout\"\n", always());
    sending.until_taken(4).await;
    assert_eq!(sending.finish().await, more);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_wanted_is_sent_and_the_rest_is_passed_over() {
    let house = House::new();
    let ids = house.append(100).await;
    let wanted = "min_severity = \"high\"\ntypes = [\"THROTTLED\", \"TEMPORARY_BAN\"]\n\
                  exclude_types = [\"TEMPORARY_BAN\"]";
    let sending = house.send("a", &format!("{SINK}{wanted}"), always());
    sending.until_taken(10).await;
    clock::sleep(std::time::Duration::from_secs(3)).await;
    let expected: Vec<String> = ids.iter().step_by(10).cloned().collect();
    assert_eq!(sending.finish().await, expected);
    let position = house.store.sink("siem").await.unwrap().unwrap().position.unwrap();
    assert!(house.store.read_log(&position, 10).await.unwrap().events.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outage_loses_nothing_and_its_end_is_noticed() {
    let house = House::new();
    let ids = house.append(500).await;
    let answer: Answer = Box::new(|_, calls| match calls {
        0..10 => Err(SendError::unreachable("connection refused")),
        10 => Err(busy("answered 429", std::time::Duration::from_secs(90))),
        _ => Ok(SendReport::default()),
    });
    let sending = house.send("a", SINK, answer);
    sending.until(|seen| seen.calls >= 5).await;
    let shown = sending.status.show(START + 60_000);
    assert_eq!(shown.error.as_deref(), Some("connection refused"));
    assert!(shown.leading && shown.lag_seconds >= Some(59), "{shown:?}");
    let logged = house.store.sink("siem").await.unwrap().unwrap().health.unwrap();
    assert_eq!(logged.error, shown.error, "other instances know it, too");
    assert!(logged.waiting_since.is_some() && logged.failing_since.is_some() && logged.last_sent.is_none());
    sending.until(|seen| seen.calls >= 11).await;
    let asked_at = clock::instant();
    sending.until_taken(1).await;
    assert!(asked_at.elapsed().as_secs() >= 89, "Retry-After was not heeded");
    sending.until_taken(500).await;
    clock::sleep(std::time::Duration::from_secs(1)).await;
    let shown = sending.status.show(START + 3_600_000);
    assert_eq!((shown.error, shown.lag_seconds, shown.failing_since), (None, Some(0), None));
    assert_eq!(sending.finish().await, ids);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_spoils_its_batch_is_found_and_parked_alone() {
    let house = House::new();
    let ids = house.append(300).await;
    let poison = ids[137].clone();
    let bad = poison.clone();
    let answer: Answer = Box::new(move |events, _| {
        let spoiled = events.iter().any(|event| event.id == bad);
        if spoiled { Err(SendError::refused("answered 400: no")) } else { Ok(SendReport::default()) }
    });
    let sending = house.send("a", SINK, answer);
    sending.until_taken(299).await;
    clock::sleep(std::time::Duration::from_secs(1)).await;
    let taken = sending.finish().await;
    let expected: Vec<String> = ids.into_iter().filter(|id| *id != poison).collect();
    assert_eq!(taken, expected);
    let letters = house.store.dead_letters("siem").await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].event.id.as_str(), letters[0].reason.as_str()), (&*poison, "answered 400: no"));
}

#[tokio::test(start_paused = true)]
async fn those_of_a_batch_that_are_refused_are_parked_and_the_others_are_not_sent_again() {
    let house = House::new();
    let ids = house.append(100).await;
    let answer: Answer = Box::new(|events, _| {
        let refused = (0..events.len()).filter(|n| n % 10 == 3).map(|n| (n, "mapping".to_owned()));
        Ok(SendReport { refused: refused.collect(), answer: String::new() })
    });
    let sending = house.send("a", SINK, answer);
    sending.until_taken(90).await;
    assert_eq!(sending.finish().await.len(), 90);
    let parked: Vec<String> =
        house.store.dead_letters("siem").await.unwrap().into_iter().map(|letter| letter.event.id).collect();
    let mut expected: Vec<String> = ids.iter().skip(3).step_by(10).cloned().collect();
    expected.sort();
    assert_eq!(parked, expected);
}

#[tokio::test(start_paused = true)]
async fn an_event_on_which_the_sink_fails_is_parked_only_when_others_are_taken() {
    let house = House::new();
    let ids = house.append(50).await;
    let poison = ids[20].clone();
    let bad = poison.clone();
    let answer: Answer = Box::new(move |events, calls| {
        let spoiled = events.iter().any(|event| event.id == bad);
        // At first the sink is down altogether: nothing is to be parked for that.
        if calls < 40 || spoiled { Err(SendError::broken("answered 500")) } else { Ok(SendReport::default()) }
    });
    let sending = house.send("a", SINK, answer);
    sending.until(|seen| seen.calls >= 40).await;
    assert_eq!(house.store.dead_letters("siem").await.unwrap(), []);
    sending.until_taken(49).await;
    clock::sleep(std::time::Duration::from_secs(1)).await;
    let mut taken = sending.finish().await;
    taken.dedup();
    // What another was tried with may change places with it; events about one subject do not.
    let expected: Vec<String> = ids.iter().filter(|id| **id != poison).cloned().collect();
    assert_eq!(by_subject(&taken), by_subject(&expected));
    let letters = house.store.dead_letters("siem").await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.event.id.clone()).collect::<Vec<_>>(), [poison]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_much_is_made_smaller_whatever_the_sink_says_to_it() {
    let house = House::new();
    let ids = house.append(200).await;
    let answer: Answer = Box::new(|events, _| {
        if events.len() > 7 {
            Err(SendError::unreachable("connection reset"))
        } else {
            Ok(SendReport::default())
        }
    });
    let sending = house.send("a", SINK, answer);
    sending.until_taken(200).await;
    assert_eq!(sending.finish().await, ids);
    assert_eq!(house.store.dead_letters("siem").await.unwrap(), []);
}

/// A firewall before the sink does not like what is in it, and says 403; the next event that the sink wants is
/// thousands of others away.
#[tokio::test(start_paused = true)]
async fn a_poison_event_does_not_hold_up_a_sink_that_wants_few() {
    let house = House::new();
    let cut_off =
        |key: &str| Event::new(START, EventType::KeyCutOff, Severity::Critical, Some(Subject::key(key)));
    let poison = house.store.append(&[cut_off("a")]).await.unwrap().remove(0).id;
    house.append(25_000).await;
    let other = house.store.append(&[cut_off("b")]).await.unwrap().remove(0).id;
    let bad = poison.clone();
    let answer: Answer = Box::new(move |events, _| {
        let spoiled = events.iter().any(|event| event.id == bad);
        if spoiled { Err(SendError::denied("answered 403: blocked")) } else { Ok(SendReport::default()) }
    });
    let sending = house.send("a", &format!("{SINK}types = [\"KEY_CUT_OFF\"]\nbatch = 1"), answer);
    sending.until(|seen| seen.taken.len() >= 2).await;
    assert!(sending.finish().await.iter().all(|id| *id == other), "it was tried, and sent in its turn");
    let letters = house.store.dead_letters("siem").await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.event.id.clone()).collect::<Vec<_>>(), [poison]);
}

#[tokio::test(start_paused = true)]
async fn a_full_log_of_dead_letters_waits_and_redelivery_frees_it() {
    let house = House::new();
    let count = crate::store::MAX_DEAD_LETTERS + 200;
    let ids = house.append(count).await;
    let repaired = Arc::new(Mutex::new(false));
    let now_good = repaired.clone();
    let answer: Answer = Box::new(move |events, _| {
        let all = (0..events.len()).map(|n| (n, "mapping".to_owned()));
        let refused = if *now_good.lock() { Vec::new() } else { all.collect() };
        Ok(SendReport { refused, answer: String::new() })
    });
    let sending = house.send("a", &format!("{SINK}batch = 1000"), answer);
    loop {
        let error = sending.status.show(START).error.unwrap_or_default();
        if error.contains("too many dead letters") {
            break;
        }
        clock::sleep(std::time::Duration::from_millis(100)).await;
    }
    *repaired.lock() = true;
    house.store.act_on_dead_letters("siem", crate::store::DeadLetterAct::Redeliver, &[]).await.unwrap();
    sending.until(|seen| seen.taken.len() >= 10_000).await;
    // What was refused while there was no room has a place now.
    clock::sleep(std::time::Duration::from_secs(30)).await;
    house.store.act_on_dead_letters("siem", crate::store::DeadLetterAct::Redeliver, &[]).await.unwrap();
    sending.until(|seen| seen.taken.len() >= count).await;
    let mut taken = sending.finish().await;
    taken.sort_by_key(|id| id.rsplit('-').next().unwrap().parse::<usize>().unwrap());
    assert_eq!(taken, ids);
}

#[tokio::test(start_paused = true)]
async fn redelivery_is_as_patient_as_the_sink_asks() {
    let house = House::new();
    house.append(1).await;
    let answer: Answer = Box::new(|_, calls| match calls {
        0 => Err(SendError::refused("answered 400")),
        1 => Err(busy("answered 429", std::time::Duration::from_secs(600))),
        _ => Ok(SendReport::default()),
    });
    let sending = house.send("a", SINK, answer);
    sending.until(|seen| seen.calls == 1).await;
    while house.store.dead_letters("siem").await.unwrap().is_empty() {
        clock::sleep(std::time::Duration::from_millis(50)).await;
    }
    house.store.act_on_dead_letters("siem", crate::store::DeadLetterAct::Redeliver, &[]).await.unwrap();
    sending.until(|seen| seen.calls == 2).await;
    clock::sleep(std::time::Duration::from_secs(590)).await;
    assert_eq!(sending.seen.lock().calls, 2);
    sending.until_taken(1).await;
    sending.finish().await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_are_wrong_park_nothing() {
    let house = House::new();
    house.append(5).await;
    let sending = house.send("a", SINK, Box::new(|_, _| Err(SendError::denied("answered 401: bad token"))));
    sending.until(|seen| seen.calls >= 30).await;
    assert_eq!(sending.status.show(START).error.as_deref(), Some("answered 401: bad token"));
    assert_eq!(sending.finish().await, Vec::<String>::new());
    assert_eq!(house.store.dead_letters("siem").await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_sent_again_when_somebody_says_so() {
    let house = House::new();
    let ids = house.append(3).await;
    let repaired = Arc::new(Mutex::new(false));
    let (now_good, bad) = (repaired.clone(), ids[1].clone());
    let answer: Answer = Box::new(move |events, _| {
        let spoiled = events.iter().any(|event| event.id == bad) && !*now_good.lock();
        if spoiled { Err(SendError::refused("answered 400")) } else { Ok(SendReport::default()) }
    });
    let sending = house.send("a", SINK, answer);
    sending.until_taken(2).await;
    let again = crate::store::DeadLetterAct::Redeliver;
    while house.store.dead_letters("siem").await.unwrap().is_empty() {
        clock::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Still refused: it is parked again, without its mark.
    house.store.act_on_dead_letters("siem", again, &[]).await.unwrap();
    loop {
        let letters = house.store.dead_letters("siem").await.unwrap();
        if letters[0].attempts > 1 && !letters[0].again {
            break;
        }
        clock::sleep(std::time::Duration::from_millis(50)).await;
    }
    *repaired.lock() = true;
    house.store.act_on_dead_letters("siem", again, &[]).await.unwrap();
    sending.until_taken(3).await;
    clock::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(house.store.dead_letters("siem").await.unwrap(), []);
    assert_eq!(sending.finish().await, [ids[0].clone(), ids[2].clone(), ids[1].clone()]);
}
