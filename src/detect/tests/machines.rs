//! What machines do, whoever runs them: ids counted up, one size again and again, keys tried from everywhere.

use super::*;
use crate::{
    detect::{FirstUses, Spray},
    domain::finding::{Accused, AnomalyKind::*, Severity},
};

/// The key knows files by their ids; so many of the last requests for them were answered 404, and every fourth, or
/// none, succeeded.
fn files(numbers: impl Iterator<Item = u32>, every_fourth: bool) -> Scene {
    let mut scene = Scene::settled();
    scene.record.endpoint = "/v1/files/file-00000007".into();
    scene.learn(NOON - 24 * HOUR, SINGAPORE);
    for (index, number) in numbers.enumerate() {
        scene.record.endpoint = format!("/v1/files/file-{number:08}").into();
        scene.record.status = if every_fourth && index % 4 == 0 { 200 } else { 404 };
        scene = scene.repeated(1);
    }
    scene.record.status = 404;
    scene
}

#[test]
fn ids_of_which_most_are_not_there_are_a_scan_beside_successes() {
    let (severity, summary) = files((0..28).map(|n| n * 7_919 % 100_000), true).found(EndpointScan);
    assert_eq!(severity, Severity::High);
    assert!(summary.contains("below known endpoints"), "{summary}");
}

#[test]
fn where_everything_is_refused_only_ids_that_count_up_are_a_scan() {
    assert_eq!(files(100..128, false).found(EndpointScan).0, Severity::High);
    let outage = files((0..28).map(|n| n * 7_919 % 100_000), false);
    assert_eq!(outage.quiet(EndpointScan), "everything is refused, and nothing is counted up: an outage");
}

#[test]
fn a_few_files_that_are_gone_are_no_scan() {
    assert_eq!(files(100..106, true).quiet(EndpointScan), "too few paths were refused");
}

#[test]
fn one_size_again_and_again_is_a_loop_unless_the_key_always_does_that() {
    let looped = || Scene::settled().with(|scene| scene.record.prompt_tokens = Some(777)).repeated(30);
    let (severity, summary) = looped().found(RequestSizeAnomaly);
    assert_eq!(severity, Severity::High);
    assert!(
        summary.starts_with("The last 31 requests for one use all had 777 tokens of prompt"),
        "{summary}"
    );
    let usual = looped().with(|scene| {
        for day in 1..=DAYS {
            (0..100).for_each(|_| scene.profile.later.repeats.add(NOON - day * 24 * HOUR));
        }
    });
    let found = usual.result(RequestSizeAnomaly);
    assert!(found.map_or(true, |finding| finding.severity < Severity::High));
    let few = Scene::settled().with(|scene| scene.record.prompt_tokens = Some(777)).repeated(10);
    few.quiet(RequestSizeAnomaly);
}

#[test]
fn sizes_that_follow_each_other_say_less() {
    let large = || Scene::settled().with(|scene| scene.record.tokens = 6_000).repeated(12);
    assert_eq!(large().found(RequestSizeAnomaly).0, Severity::High);
    let agent = large().with(|scene| {
        (0..2_000).for_each(|_| scene.profile.later.lag.add((0.97, 1.0), NOON - HOUR));
    });
    let found = agent.result(RequestSizeAnomaly);
    assert!(found.map_or(true, |finding| finding.severity < Severity::High));
}

#[test]
fn tokens_from_a_cache_do_not_count_for_the_size() {
    let large = Scene::settled().with(|scene| scene.record.tokens = 60_000).repeated(6);
    assert_eq!(large.found(RequestSizeAnomaly).0, Severity::High);
    let cached = |scene: &mut Scene| {
        (scene.record.tokens, scene.record.cached_tokens) = (60_000, Some(59_000));
    };
    let cached = Scene::settled().with(cached).repeated(6);
    cached.quiet(RequestSizeAnomaly);
}

#[test]
fn one_address_that_is_new_to_keys_of_four_projects_is_a_bundle() {
    let scene = Scene::settled().from(BUCHAREST);
    let judged = |keys, projects| {
        scene.look(|case| {
            let crowd = Crowd { first_uses: FirstUses { keys, projects }, ..Crowd::default() };
            assert!(case.is_first_use());
            judge(&with_crowd(case, crowd)).into_iter().find(|finding| finding.kind == CredentialStuffing)
        })
    };
    let finding = judged(5, 4).unwrap();
    assert_eq!((finding.severity, finding.accused), (Severity::High, Accused::Key));
    assert!(judged(3, 3).is_none() && judged(8, 1).is_none());
    assert!(!Scene::settled().look(|case| case.is_first_use()), "the place is known");
}

#[test]
fn unknown_keys_of_one_client_from_everywhere_are_a_list_unless_that_is_usual() {
    let mut scene = Scene::unknown();
    scene.record.status = 401;
    scene.address = Some(scene.key.clone());
    let judged = |usual| {
        scene.look(|case| {
            let spray = Spray { keys: 80, addresses: 30, usual, span_millis: 2 * HOUR };
            let crowd = Crowd { spray, ..Crowd::default() };
            judge(&with_crowd(case, crowd)).into_iter().find(|finding| finding.kind == CredentialStuffing)
        })
    };
    let finding = judged(1.0).unwrap();
    assert_eq!((finding.severity, finding.accused), (Severity::High, Accused::Address));
    assert!(judged(40.0).is_none());
}
