//! Which part of a key's traffic is accused, and what stops it.

use super::*;
use crate::{
    detect::{Crowd, FirstUses, judge_part},
    domain::{
        finding::{AnomalyKind::*, Severity},
        profile::{Part, PartSighting},
    },
};

const DAY: Millis = 24 * HOUR;

/// A thief in Bucharest with another client, and beside it an owner in Singapore who has been at work for two weeks.
fn robbed(endpoint: &'static str) -> Scene {
    let mut scene = Scene::settled();
    let own = sighting(&scene);
    for day in 0..DAYS {
        scene.profile.later.parts.see(&own, NOON - DAYS * DAY + day * DAY);
    }
    scene.from(BUCHAREST).with(|scene| {
        scene.record.user_agent = Some("curl/8.5.0".into());
        scene.record.endpoint = endpoint.into();
    })
}

fn sighting(scene: &Scene) -> PartSighting {
    scene.look(|case| judge_part(case).1)
}

fn part() -> Part {
    Part::of("curl", &BUCHAREST.core())
}

/// Whether the request accuses its part, and whether it stops it.
fn accusation(sighting: &PartSighting) -> (bool, bool) {
    (sighting.accused, sighting.stopped_as.is_some())
}

fn named(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter_map(|finding| finding.evidence["held"].as_str()).collect()
}

#[test]
fn a_stranger_is_noted_and_one_that_is_critical_is_stopped_and_only_then_findings_name_the_part() {
    let (findings, noted) = robbed("/v1/chat/completions").look(judge_part);
    assert_eq!((accusation(&noted), named(&findings)), ((true, false), Vec::new()));
    let scene = robbed("/v1/files");
    let (findings, stopped) = scene.look(judge_part);
    assert_eq!((accusation(&stopped), stopped.part), ((true, true), part()));
    let name = stopped.stopped_as.unwrap();
    assert!(name.starts_with("client curl from "), "{name}");
    let named = named(&findings);
    assert!(!named.is_empty() && named.iter().all(|held| **held == *name), "{named:?}");
}

#[test]
fn the_owners_part_is_not_accused_of_a_burst_nor_of_a_loop() {
    let mut burst = Scene::settled().holding([400, 900, 2_000, 2_100]);
    let own = sighting(&burst);
    burst.profile.later.parts.see(&own, NOON - DAYS * DAY);
    burst.profile.later.parts.see(&own, NOON - DAY);
    assert_eq!(burst.found(TrafficBurst).0, Severity::High);
    assert_eq!(accusation(&sighting(&burst)), (false, false));
    let looped =
        burst.holding([2, 5, 10, 50]).with(|scene| scene.record.prompt_tokens = Some(777)).repeated(30);
    assert_eq!(looped.found(RequestSizeAnomaly).0, Severity::High);
    assert_eq!(accusation(&sighting(&looped)), (false, false));
}

#[test]
fn a_bundle_of_keys_at_one_address_is_found_and_stops_nobody_there() {
    let scene = robbed("/v1/chat/completions");
    let (findings, sighting) = scene.look(|case| {
        let first_uses = FirstUses { keys: 9, projects: 9 };
        judge_part(&with_crowd(case, Crowd { first_uses, ..Crowd::default() }))
    });
    let bundle = findings.iter().find(|finding| finding.kind == CredentialStuffing).unwrap();
    assert_eq!(bundle.severity, Severity::High);
    assert_eq!(accusation(&sighting), (true, false), "the others there did not choose their neighbours");
}

#[test]
fn many_new_values_over_time_stop_a_part() {
    let mut scene = robbed("/v1/chat/completions");
    scene.record.tokens = 10;
    let first = sighting(&scene);
    assert_eq!(accusation(&first), (true, false));
    let bits = first.new_values.count_ones();
    let others = (0..64).filter(|bit| first.new_values & (1 << bit) == 0).take(6 - bits as usize);
    let tried = others.fold(first.new_values, |values, bit| values | (1 << bit));
    scene.profile.later.parts.see(&PartSighting { new_values: tried, ..first }, NOON - MINUTE);
    assert_eq!(accusation(&sighting(&scene)), (true, true));
}

#[test]
fn a_key_on_its_first_day_is_judged_by_its_project() {
    let mut young = Scene::unknown();
    for minute in 0..40 {
        young.learn(NOON - 6 * HOUR + minute * MINUTE, SINGAPORE);
    }
    let mut young = young.seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST);
    young.record.user_agent = Some("curl/8.5.0".into());
    assert_eq!(young.found(ImpossibleTravel).0, Severity::Low);
    young.prior = Some(Scene::settled().profile);
    let (severity, _) = young.found(ImpossibleTravel);
    assert_eq!(severity, Severity::High);
    let mut travelling = Scene::settled();
    travelling.record.user_agent = Some("curl/8.5.0".into());
    (1..=DAYS).for_each(|day| travelling.learn(NOON - day * DAY, BUCHAREST));
    young.prior = Some(travelling.profile);
    assert_eq!(young.found(ImpossibleTravel).0, Severity::Low, "the project works there");
}

#[test]
fn a_key_that_makes_new_far_moves_all_the_time_is_no_traveller() {
    let found = |days: i64| {
        let mut scene = Scene::settled();
        for day in 1..=days {
            let from = crate::domain::profile::Cell(day as i16 * 3, 0);
            scene
                .profile
                .moves
                .touch((from, crate::domain::profile::Cell(day as i16 * 3, 60)), NOON - day * DAY);
        }
        scene.seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST).found(ImpossibleTravel).0
    };
    assert_eq!(found(0), Severity::High);
    assert_eq!(found(12), Severity::Low);
}
