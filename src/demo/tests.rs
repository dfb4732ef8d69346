//! The play holds what it promises, whatever the seed and the hour.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::*;
use crate::{
    config::{Config, Sources},
    domain::{
        DAY,
        decision::{Action, Decision},
    },
    engine::Engine,
    geo::Geo,
    intake::{Intake, Peppers, parse},
    pricing::{Prices, flat_example},
    simulate::{
        WireRecord,
        score::{Score, Scorer, Verdict},
    },
    store::embedded::{EmbeddedOptions, EmbeddedStore},
};

const NOON: Millis = 1_772_452_800_000;
const LENGTH: Duration = Duration::from_secs(40);

#[test]
fn the_same_seed_and_moment_make_the_same_play() {
    let play = || script(&Cast::draw(3, NOON), 3, NOON, LENGTH, |_| false);
    let same = |(a, b): (Cue, Cue)| a.after == b.after && a.labelled == b.labelled;
    assert!(play().into_iter().zip(play()).all(same));
}

#[test]
fn everybody_is_on_stage_and_eight_attacks_happen_at_any_hour_of_the_week() {
    for shift in 0..4 {
        let now = NOON + shift * (DAY * 7 / 4);
        let cast = Cast::draw(1, now);
        assert_eq!(cast.players.len(), 17);
        let cues = script(&cast, 1, now, LENGTH, |_| false);
        let attacks: BTreeSet<_> = cues.iter().filter_map(|cue| cue.labelled.label).collect();
        assert_eq!(attacks.len(), 8, "{attacks:?}");
        let own: BTreeSet<_> =
            cues.iter().filter(|cue| cue.labelled.label.is_none()).map(|cue| cue.name).collect();
        assert_eq!(own.len(), 17, "{own:?}");
        assert!(cues.is_sorted_by_key(|cue| cue.after) && cues.iter().all(|cue| cue.after < LENGTH));
    }
}

#[test]
fn keys_have_public_names_so_that_people_can_ask_about_them() {
    let cues = script(&Cast::draw(1, NOON), 1, NOON, LENGTH, |_| false);
    for cue in cues.iter().filter(|cue| cue.labelled.label != Some("credential_stuffing")) {
        assert_eq!(cue.labelled.record.key_id.as_deref(), Some(cue.name));
    }
}

#[test]
fn suspects_do_not_take_part() {
    let cues = script(&Cast::draw(1, NOON), 1, NOON, LENGTH, |name| name == "bob-notebook");
    assert!(cues.iter().all(|cue| cue.name != "bob-notebook"));
}

#[test]
fn the_pair_to_try_differs_in_place_and_client_alone() {
    let (own, stolen) = Cast::draw(1, NOON).to_try(1).unwrap();
    assert_eq!((&own.key_id, &own.endpoint, &own.model), (&stolen.key_id, &stolen.endpoint, &stolen.model));
    assert!(own.source_ip != stolen.source_ip && own.user_agent != stolen.user_agent);
}

/// The play on event time: the score, and what was decided about the pair to try.
async fn perform(seed: u64, now: Millis) -> (Score, [Decision; 2]) {
    let policy = Config::load(&Sources::default()).unwrap().policy;
    let geo = Arc::new(Geo::open(&[], true).unwrap());
    let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let cast = Cast::draw(seed, now);
    let past = teach(&cast, now, store.clone(), geo.clone(), policy.clone(), None).await.unwrap();
    let engine = Engine::start(store, geo, policy, past::options()).await.unwrap();
    let intake = Intake::replay(Peppers::parse(past::NO_PEPPER).unwrap(), flat_example());
    let decide = async |wire: &WireRecord, at: Millis| {
        let wire = WireRecord { timestamp: at, request_id: at as u64, ..wire.clone() };
        let record = intake.record(parse(&serde_json::to_vec(&wire).unwrap()).unwrap(), at).unwrap();
        engine.record(&[record], at).await.remove(0)
    };
    let (own, stolen) = cast.to_try(seed).unwrap();
    let pair = [decide(&own, now).await, decide(&stolen, now + 2_000).await];
    let mut scorer = Scorer::default();
    for cue in script(&cast, seed, now, LENGTH, |name| past.suspects.iter().any(|s| &**s == name)) {
        let at = now + 5_000 + cue.after.as_millis() as Millis;
        let decision = decide(&cue.labelled.record, at).await;
        scorer.add(&cue.labelled, &Verdict::from(&decision));
    }
    (scorer.finish(), pair)
}

#[tokio::test]
async fn attacks_are_found_nobody_is_harmed_and_the_pair_ends_in_a_ban_at_any_hour_of_the_week() {
    for shift in 0..5 {
        let now = NOON + shift * (DAY * 7 / 5);
        let (score, [own, stolen]) = perform(shift as u64 + 1, now).await;
        assert!(score.all_attacks().found >= 7, "{shift}: {score}");
        assert_eq!(score.all_benign().keys_refused, 0, "{shift}: {score}");
        assert!(own.allowed, "{shift}: {own:?}");
        assert_eq!((stolen.allowed, stolen.action), (false, Action::TemporaryBan), "{shift}: {stolen:?}");
    }
}

#[test]
fn one_key_asks_for_more_than_its_budget_at_the_prices_of_the_demo() {
    let cast = Cast::draw(1, NOON);
    let cues = script(&cast, 1, NOON, LENGTH, |_| false);
    let asked: Vec<_> = cues.iter().filter(|cue| cue.name == BATCH).collect();
    let prices = Prices::of(&price_list()).unwrap();
    let intake = Intake::replay(Peppers::parse(past::NO_PEPPER).unwrap(), Arc::new(prices));
    let cost = |cue: &&Cue| {
        let wire = parse(&serde_json::to_vec(&cue.labelled.record).unwrap()).unwrap();
        intake.record(wire, NOON).unwrap().cost_nanos.unwrap()
    };
    let costs: Vec<u64> = asked.iter().map(cost).collect();
    let (_, body) = registry(&cast).into_iter().find(|([_, name], _)| name == BATCH).unwrap();
    let budget = body["budget_usd"].as_str().unwrap().parse::<f64>().unwrap() * 1e9;
    assert!((costs[0] as f64) < budget && budget < costs.iter().sum::<u64>() as f64, "{costs:?}, {budget}");
}

#[test]
fn every_key_is_registered_to_a_project_that_is_put_before_it() {
    let cast = Cast::draw(1, NOON);
    let puts = registry(&cast);
    let names = |kind: &str| -> Vec<String> {
        puts.iter().filter(|([of, _], _)| of == kind).map(|([_, name], _)| name.clone()).collect()
    };
    let players = cast.players.iter().map(|player| player.role.name).chain([BATCH]);
    let players: Vec<&str> = players.collect();
    assert_eq!(names("keys"), players);
    let first_key = puts.iter().position(|([kind, _], _)| kind == "keys").unwrap();
    for (_, body) in &puts[first_key..] {
        let project = body["project"].as_str().unwrap().to_owned();
        assert!(puts[..first_key].iter().any(|([kind, name], _)| kind == "projects" && *name == project));
    }
}
