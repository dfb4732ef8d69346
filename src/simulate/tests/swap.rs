//! Thefts made of a recording.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    domain::{DAY, HOUR, Millis, event::format_millis},
    simulate::{
        Labelled,
        swap::{Recorded, Survey, SwapPlan, Swaps},
    },
};

const START: Millis = 1_772_409_600_000;

/// Keys that make ten requests an hour for a week, each from its own network; every other one names its secret.
fn recording(keys: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for step in 0..7 * 24 * 10 {
        let time = format_millis(START + step * HOUR / 10);
        for key in 0..keys {
            let field = if key % 2 == 0 { "key_id" } else { "api_key" };
            let line = json!({
                field: format!("key-{key}"), "endpoint": "/v1/chat", "source_ip": format!("203.0.{key}.7"),
                "project_id": format!("project-{key}"), "tokens_used": 1_000 + key, "timestamp": time,
                "request_id": format!("r-{step}-{key}"), "reservation_id": "rsv_1",
            });
            lines.push(
                line.to_string().replace("\"tokens_used\":", "\"cost_usd\":0.1000000001,\"tokens_used\":"),
            );
        }
    }
    lines
}

fn swaps(lines: &[String], seed: u64, thefts: usize) -> Swaps {
    let mut survey = Survey::default();
    assert!(lines.iter().all(|line| survey.add(line.as_bytes())));
    survey.plan(SwapPlan { seed, thefts, length: DAY })
}

fn labelled(lines: &[String], mut swaps: Swaps) -> Vec<Labelled<Recorded>> {
    lines.iter().filter_map(|line| swaps.label(line.as_bytes())).collect()
}

fn fields(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

fn key_of(record: &Value) -> String {
    record.get("key_id").or(record.get("api_key")).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn from_a_moment_on_one_keys_requests_come_in_the_name_of_another() {
    let lines = recording(6);
    let all = labelled(&lines, swaps(&lines, 7, 2));
    assert_eq!(all.len(), lines.len());
    let mut thefts: BTreeMap<u32, Vec<(Value, Value)>> = BTreeMap::new();
    for (line, one) in lines.iter().zip(&all) {
        let (was, is) = (fields(line.as_bytes()), fields(&one.record.line));
        match one.attack_id {
            None => assert_eq!(was, is),
            Some(id) => thefts.entry(id).or_default().push((was, is)),
        }
    }
    assert_eq!(thefts.len(), 2);
    for pairs in thefts.into_values() {
        assert_eq!(pairs.len(), 240, "ten an hour for a day");
        let names = |of: fn(&(Value, Value)) -> &Value| -> BTreeSet<String> {
            pairs.iter().map(|pair| key_of(of(pair))).collect()
        };
        let (thieves, victims) = (names(|pair| &pair.0), names(|pair| &pair.1));
        assert_eq!((thieves.len(), victims.len()), (1, 1));
        assert!(thieves.is_disjoint(&victims));
        let (was, is) = &pairs[0];
        assert_eq!(was["source_ip"], is["source_ip"]);
        assert_eq!(is["project_id"].as_str().unwrap().replace("project", "key"), key_of(is));
        assert!(is.get("reservation_id").is_none());
    }
}

#[test]
fn what_a_record_says_beside_its_key_stays_as_it_was_written() {
    let lines = recording(2);
    let stolen = labelled(&lines, swaps(&lines, 1, 1)).into_iter().find(|one| one.label.is_some()).unwrap();
    let text = String::from_utf8(stolen.record.line).unwrap();
    assert!(text.contains("\"cost_usd\":0.1000000001,"), "{text}");
}

#[test]
fn the_same_seed_makes_the_same_thefts_and_another_one_makes_others() {
    let lines = recording(8);
    let stolen = |seed| {
        let all = labelled(&lines, swaps(&lines, seed, 3));
        let stolen = all.into_iter().filter(|one| one.label.is_some());
        stolen.map(|one| one.record.line).collect::<Vec<_>>()
    };
    assert_eq!(stolen(5), stolen(5));
    assert_ne!(stolen(5), stolen(6));
}

#[test]
fn a_thief_from_the_victims_own_network_is_called_a_neighbour() {
    let far = recording(2);
    let near: Vec<String> = far.iter().map(|line| line.replace("203.0.1.7", "203.0.0.9")).collect();
    let kind =
        |lines: &[String]| labelled(lines, swaps(lines, 1, 1)).iter().find_map(|one| one.label).unwrap();
    assert_eq!((kind(&far), kind(&near)), ("swap_stranger", "swap_neighbour"));
}

#[test]
fn a_key_plays_one_part_and_none_without_a_past() {
    let lines = recording(5);
    assert_eq!(swaps(&lines, 3, 100).len(), 2);
    let short: Vec<String> = lines.into_iter().take(5 * 15).collect();
    assert!(swaps(&short, 3, 100).is_empty());
    assert!(!Survey::default().add(br#"{"api_key":"a","key_id":"b"}"#));
    assert!(!Survey::default().add(b"no record"));
}
