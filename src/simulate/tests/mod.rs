//! What the traffic must be like, whatever the seed.

mod attacks;
mod bars;
mod benign;
mod score;
mod second;
mod strikes;
mod swap;
mod variety;

use std::{collections::BTreeMap, sync::LazyLock};

use super::{Labelled, Plan, generate};

/// Ten days of little traffic, made once for all tests.
static TRAFFIC: LazyLock<Vec<Labelled>> = LazyLock::new(|| generate(&small()).collect());

fn small() -> Plan {
    Plan { days: 10, keys_per_archetype: 2, attacks_per_kind: 2, rate: 0.5, ..Plan::THREE_WEEKS }
}

/// The rightful traffic by archetype and key.
fn benign(archetype: &str) -> BTreeMap<u32, Vec<&'static Labelled>> {
    let mut keys = BTreeMap::<u32, Vec<_>>::new();
    for labelled in TRAFFIC.iter().filter(|l| l.archetype == archetype && l.label.is_none()) {
        keys.entry(labelled.key).or_default().push(labelled);
    }
    keys
}

#[test]
fn the_same_seed_makes_the_same_traffic_and_another_makes_other() {
    assert!(generate(&small()).eq(TRAFFIC.iter().cloned()));
    let other = Plan { seed: 2, ..small() };
    assert_ne!(generate(&other).next().unwrap().record, TRAFFIC[0].record);
}

#[test]
fn traffic_is_in_order_of_time_within_the_plan() {
    assert!(TRAFFIC.is_sorted_by_key(|labelled| labelled.time));
    assert!(TRAFFIC.iter().all(|l| small().span().contains(l.time) && l.record.timestamp == l.time));
    assert!(TRAFFIC.iter().map(|labelled| labelled.record.request_id).eq(1..=TRAFFIC.len() as u64));
}

#[test]
fn every_record_names_its_key_one_way_and_adds_up() {
    for Labelled { record, .. } in TRAFFIC.iter() {
        assert!(record.api_key.is_some() != record.key_id.is_some());
        assert_eq!(record.tokens_used, record.prompt_tokens + record.completion_tokens);
        assert!(record.latency_ms.is_finite() && record.latency_ms >= 0.0);
        assert!(record.cost_usd.is_none_or(|cost| cost >= 0.0));
        assert!(
            record.endpoint.starts_with('/') && record.model.as_ref().is_none_or(|model| !model.is_empty())
        );
    }
    let mostly =
        |tells: fn(&Labelled) -> bool| TRAFFIC.iter().filter(|l| tells(l)).count() * 2 > TRAFFIC.len();
    assert!(mostly(|l| l.record.model.is_some()) && mostly(|l| !l.record.user_agent.is_empty()));
}
