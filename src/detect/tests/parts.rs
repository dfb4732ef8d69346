//! Which part of a key's traffic is accused, and how far it is held back.

use super::*;
use crate::{
    detect::{judge_part, most_an_hour},
    domain::{
        finding::{AnomalyKind::*, Severity},
        profile::{Held, Part, PartSighting},
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

#[test]
fn a_stranger_is_slowed_and_one_that_is_critical_is_stopped_and_findings_name_it() {
    assert_eq!(sighting(&robbed("/v1/chat/completions")).accused, Some(Held::Slowed));
    let scene = robbed("/v1/files");
    let (findings, sighting) = scene.look(judge_part);
    assert_eq!((sighting.accused, sighting.part), (Some(Held::Stopped), part()));
    let named = findings.iter().filter_map(|finding| finding.evidence["held"].as_str()).collect::<Vec<_>>();
    assert!(!named.is_empty() && named.iter().all(|name| name.starts_with("client curl from ")), "{named:?}");
}

#[test]
fn the_owners_part_is_not_accused_of_a_burst_and_only_slowed_for_a_loop() {
    let mut burst = Scene::settled().holding([400, 900, 2_000, 2_100]);
    let own = sighting(&burst);
    burst.profile.later.parts.see(&own, NOON - DAYS * DAY);
    burst.profile.later.parts.see(&own, NOON - DAY);
    assert_eq!(burst.found(TrafficBurst).0, Severity::High);
    assert_eq!(sighting(&burst).accused, None);
    let looped =
        burst.holding([2, 5, 10, 50]).with(|scene| scene.record.prompt_tokens = Some(777)).repeated(30);
    assert_eq!(sighting(&looped).accused, Some(Held::Loud));
}

#[test]
fn many_new_values_over_time_stop_a_part() {
    let mut scene = robbed("/v1/chat/completions");
    scene.record.tokens = 10;
    let first = sighting(&scene);
    assert_eq!(first.accused, Some(Held::Slowed));
    let bits = first.new_values.count_ones();
    let others = (0..64).filter(|bit| first.new_values & (1 << bit) == 0).take(6 - bits as usize);
    let tried = others.fold(first.new_values, |values, bit| values | (1 << bit));
    scene.profile.later.parts.see(&PartSighting { new_values: tried, ..first }, NOON - MINUTE);
    assert_eq!(sighting(&scene).accused, Some(Held::Stopped));
}

#[test]
fn a_slowed_part_makes_the_busiest_hour_and_more_while_the_owner_is_silent() {
    let mut scene = robbed("/v1/chat/completions");
    let accused = sighting(&scene);
    let most = |scene: &Scene, now| most_an_hour(&scene.profile, part(), now);
    assert_eq!(most(&scene, NOON), None);
    scene.profile.later.parts.see(&accused, NOON);
    assert_eq!(most(&scene, NOON + HOUR), Some(30), "three times the ten of the busiest hour");
    let own = PartSighting { part: Part::of("openai-python", &SINGAPORE.core()), accused: None, ..accused };
    scene.profile.later.parts.see(&own, NOON + MINUTE);
    assert_eq!(most(&scene, NOON + HOUR), Some(20));
    assert_eq!(most(&scene, NOON + 2 * DAY), Some(20));
    assert_eq!(most(&scene, NOON + 4 * DAY), None, "it has taken the place of the owner's");
}

#[test]
fn a_part_that_was_added_to_the_owners_traffic_is_stopped_and_one_that_takes_its_place_is_not() {
    let after = |owners_share: i64| {
        let mut scene = robbed("/v1/chat/completions");
        let accused = sighting(&scene);
        (0..30).for_each(|n| scene.profile.later.parts.see(&accused, NOON + n * MINUTE));
        let own =
            PartSighting { part: Part::of("openai-python", &SINGAPORE.core()), accused: None, ..accused };
        scene.profile.later.parts.see(&own, NOON + HOUR);
        scene.record = Scene::unknown().record;
        for hour in 1..6 {
            (0..owners_share).for_each(|n| scene.learn(NOON + hour * HOUR + n * MINUTE, SINGAPORE));
        }
        most_an_hour(&scene.profile, part(), NOON + 20 * HOUR)
    };
    assert_eq!((after(16), after(10)), (Some(0), Some(20)));
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
