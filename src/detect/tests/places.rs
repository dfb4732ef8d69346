//! Travel, concurrent places, new places.

use super::*;
use crate::domain::profile::Cell;
use AnomalyKind::{ConcurrentLocations, ImpossibleTravel, NewLocation};

#[test]
fn a_move_that_nobody_can_make_is_found() {
    let scene = Scene::settled().seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST);
    let (severity, summary) = scene.found(ImpossibleTravel);
    assert_eq!(severity, Severity::High);
    assert_eq!(
        summary,
        "Used in Bucharest 30 minutes after Singapore, 8,896 km away: 17,793 km/h, limit 1,000."
    );
}

#[test]
fn a_move_that_somebody_can_make_is_left_alone() {
    let scene = Scene::settled().seen_in(SINGAPORE, 15 * HOUR).from(BUCHAREST);
    assert_eq!(scene.quiet(ImpossibleTravel), "somebody can travel that fast");
    assert_eq!(scene.margin(ImpossibleTravel), (593.0, 1_000.0, "km/h"));
}

#[test]
fn travel_to_a_place_that_the_profile_knows_is_left_alone() {
    let scene = Scene::settled().with(|scene| scene.learn(NOON - DAY, BUCHAREST));
    let scene = scene.seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST);
    assert_eq!(scene.quiet(ImpossibleTravel), "the profile knows the place");
    assert_eq!(scene.quiet(ConcurrentLocations), "the profile knows the place");
}

#[test]
fn without_a_place_no_place_is_found() {
    let scene = Scene::settled().seen_in(SINGAPORE, 30 * MINUTE).with(|scene| scene.place = None);
    for kind in [ImpossibleTravel, ConcurrentLocations, NewLocation] {
        assert_eq!(scene.quiet(kind), "the request's place is unknown", "{kind:?}");
    }
}

#[test]
fn three_distant_places_within_the_hour_are_found() {
    let scene = Scene::settled().seen_in(SINGAPORE, 30 * MINUTE).seen_in(LIMA, 20 * MINUTE).from(BUCHAREST);
    let (severity, summary) = scene.found(ConcurrentLocations);
    assert_eq!(severity, Severity::Critical);
    assert_eq!(
        summary,
        "Used from 3 distant places within 1 hour (Bucharest, Singapore and Lima), 2 of them new to the key; limit 3."
    );
}

#[test]
fn two_places_at_once_are_left_alone() {
    let scene = Scene::settled().seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST);
    assert_eq!(scene.margin(ConcurrentLocations), (2.0, 3.0, "places"));
}

#[test]
fn a_first_request_from_another_country_is_remarked_on() {
    let (severity, summary) = Scene::settled().from(BUCHAREST).found(NewLocation);
    assert_eq!(severity, Severity::Low);
    assert_eq!(summary, "Used from Bucharest, which is new to the key: known from 1 country over 14 days.");
}

#[test]
fn every_place_of_a_young_key_is_new_and_none_is_news() {
    let scene = Scene::unknown().with(|scene| {
        for n in 0..20 {
            scene.learn(NOON - HOUR + n * MINUTE, SINGAPORE);
        }
    });
    let why = scene.from(BUCHAREST).quiet(NewLocation);
    assert_eq!(why, "the key is too young for anything about it to be unusual");
}

#[test]
fn a_journey_that_only_another_client_cannot_have_made_weighs_little() {
    let service_at_home = |scene: &mut Scene| {
        for peer in &mut scene.key.peers {
            peer.peer = Peer::place(&SINGAPORE.core(), ClientMark::of("a-service"));
        }
    };
    let scene = Scene::settled().seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST);
    assert_eq!(scene.found(ImpossibleTravel).0, Severity::High);
    let (severity, _) = scene.with(service_at_home).found(ImpossibleTravel);
    assert_eq!(severity, Severity::Low, "the traveller's client was not in Singapore");
}

/// A key that worked three days from Singapore.
fn young() -> Scene {
    let mut scene = Scene::unknown();
    for hour in (1..=3).flat_map(|day| (8..18).map(move |hour| (hour - 12) * HOUR - day * 24 * HOUR)) {
        for request in 0..10 {
            scene.learn(NOON + hour + request * 5 * MINUTE, SINGAPORE);
        }
    }
    scene
}

#[test]
fn nobody_is_banned_for_being_new_in_a_keys_first_week() {
    let stranger = |scene: Scene| {
        let scene = scene.seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST);
        scene.with(|scene| scene.record.user_agent = Some("curl/8.0".into()))
    };
    assert_eq!(stranger(young()).found(ImpossibleTravel).0, Severity::High);
    assert_eq!(stranger(Scene::settled()).found(ImpossibleTravel).0, Severity::Critical);
}

#[test]
fn what_is_usual_in_the_project_is_not_new_to_a_young_key() {
    let scene = young().seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST);
    assert_eq!(scene.found(ImpossibleTravel).0, Severity::High);
    let mut colleague = Scene::unknown();
    colleague.learn(NOON - 2 * DAY, BUCHAREST);
    let scene = scene.with(|scene| scene.prior = Some(colleague.profile));
    assert_eq!(scene.quiet(ImpossibleTravel), "the profile knows the place");
    assert_eq!(scene.quiet(NewLocation), "the profile knows the place, or shows new ones all the time");
}

/// A project that works as `young` does, and every `rare`-th time from Bucharest with curl.
fn project(rare: usize) -> Scene {
    let mut scene = young();
    for n in 0..scene.profile.requests as usize / rare {
        scene.record.user_agent = Some("curl/8.0".into());
        scene.learn(NOON - 2 * DAY + n as i64 * MINUTE, BUCHAREST);
    }
    scene
}

#[test]
fn what_few_in_the_project_do_is_as_new_to_a_young_key_as_what_nobody_does() {
    let stranger = young().seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST).with(|scene| {
        scene.record.user_agent = Some("curl/8.0".into());
    });
    let alone = stranger.look(|case| case.weights);
    let within = |rare, scene: Scene| {
        scene.with(|scene| scene.prior = Some(project(rare).profile)).look(|case| case.weights)
    };
    let rare = within(50, stranger);
    assert_eq!((rare.place, rare.client), (alone.place, alone.client));
    let stranger = young().from(BUCHAREST).with(|scene| scene.record.user_agent = Some("curl/8.0".into()));
    let common = within(1, stranger);
    assert_eq!(common.place, 0.0, "half of the project is there");
    assert!(common.client > 0.0 && common.client < alone.client, "{common:?}");
}

#[test]
fn a_new_key_is_not_judged_on_its_second_day_and_is_on_its_third() {
    let born = |before: Millis| {
        let mut scene = Scene::unknown();
        for request in 0..40 {
            scene.learn(NOON - before + request * MINUTE, SINGAPORE);
            scene.learn(NOON - before / 2 + request * MINUTE, SINGAPORE);
        }
        let scene = scene.seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST);
        scene.with(|scene| scene.record.user_agent = Some("curl/8.0".into())).found(ImpossibleTravel).0
    };
    assert_eq!(born(35 * HOUR), Severity::Low, "yesterday at one");
    assert_eq!(born(37 * HOUR), Severity::High, "the day before at eleven at night");
}

/// A place of which the file knows the middle of its country alone.
fn vague(city: City) -> Place {
    let mut place = city.place();
    place.core.asn = 0;
    place.core.coordinates = place.core.coordinates.map(|c| Coordinates { radius_km: 1_000, ..c });
    place
}

#[test]
fn the_middle_of_a_country_counts_in_no_detector_of_places() {
    let scene = Scene::settled().seen_in(SINGAPORE, 30 * MINUTE).seen_in(LIMA, 20 * MINUTE);
    let scene = scene.with(|scene| scene.place = Some(vague(BUCHAREST)));
    for kind in [ImpossibleTravel, ConcurrentLocations, NewLocation] {
        assert!(scene.result(kind).is_err(), "{kind:?}");
    }
    let mut there =
        Scene::settled().seen_in(SINGAPORE, 30 * MINUTE).seen_in(LIMA, 20 * MINUTE).from(BUCHAREST);
    let middle = vague(LIMA).core;
    there.key.peers[1].peer = Peer::place(&middle, ClientMark::of("openai-python"));
    assert_eq!(there.margin(ConcurrentLocations), (2.0, 3.0, "places"));
}

#[test]
fn a_known_country_is_no_news_where_the_file_knows_no_more() {
    let country_only = |city: City, country: [u8; 2]| {
        let mut place = city.place();
        place.core = PlaceCore { asn: 0, country: Some(country), coordinates: None, ..place.core };
        place
    };
    let mut scene = Scene::unknown();
    scene.place = Some(country_only(SINGAPORE, *b"SG"));
    for hour in 0..24 * DAYS {
        let (features, core) = (Features::of(&scene.record), scene.place.as_ref().map(|place| place.core));
        scene.profile.learn(&Sample {
            now: NOON - hour * HOUR,
            place: core.as_ref(),
            came_from: None,
            client: Some(&features.client),
            endpoint: &features.endpoint,
            model: scene.record.model.as_deref(),
            tokens: 1_000,
            fresh_tokens: 1_000,
            cost_nanos: 0,
            outcome: scene.record.outcome(),
            peaks: (1, 1),
        });
    }
    scene.record.user_agent = Some("curl/8.5.0".into());
    scene.place = Some(country_only(BUCHAREST, *b"SG"));
    assert_eq!(scene.look(judge), [], "another network of the known country");
    scene.place = Some(country_only(BUCHAREST, *b"RO"));
    assert_eq!(scene.found(NewLocation).0, Severity::Low);
    assert_eq!(scene.found(AnomalyKind::BehavioralDrift).0, Severity::High);
}

#[test]
fn a_geo_file_moves_nobody() {
    let strict =
        |scene: Scene| scene.with(|scene| scene.policy.preset = crate::domain::policy::Preset::Strict);
    let same = strict(Scene::settled().seen_in(SINGAPORE, 30 * MINUTE)).with(|scene| {
        let mut place = BUCHAREST.place();
        place.core.prefix = SINGAPORE.core().prefix;
        scene.place = Some(place);
    });
    assert!(
        same.result(ImpossibleTravel).is_err(),
        "the network is the same, only the file says another place"
    );
    let both_known = |loaded| {
        let scene = strict(Scene::settled()).with(|scene| scene.learn(NOON - 2 * DAY, BUCHAREST));
        let scene = scene.seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST);
        scene.with(|scene| scene.geo_loaded = loaded).result(ImpossibleTravel).is_ok()
    };
    assert!(both_known(None) && both_known(Some(NOON - 2 * DAY)));
    assert!(!both_known(Some(NOON - HOUR)), "both networks were the key's before the file was loaded");
}

/// A key that has worked for six hours of its first day, and is used with another client from Bucharest.
fn first_day(project: Scene) -> Scene {
    let mut scene = Scene::unknown();
    for minute in 0..40 {
        scene.learn(NOON - 6 * HOUR + minute * MINUTE, SINGAPORE);
    }
    scene.seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST).with(|scene| {
        scene.record.user_agent = Some("curl/8.5.0".into());
        scene.prior = Some(project.profile);
    })
}

#[test]
fn a_project_of_many_places_and_clients_is_expected_in_one_more() {
    let found = |places: i16| {
        let project = Scene::settled().with(|scene| {
            for place in 0..places {
                scene.profile.cells.touch(Cell(place * 4, 90), NOON - DAYS * DAY);
                scene.profile.clients.touch(format!("client-{place}"), NOON - DAYS * DAY);
            }
        });
        first_day(project).found(ImpossibleTravel).0
    };
    assert_eq!(found(0), Severity::High, "all keys of the project are in one place");
    assert_eq!(found(12), Severity::Low);
}

#[test]
fn what_the_project_knows_of_a_place_is_reported_within_an_hour_of_its_first_use() {
    let found = |used_since| {
        let scene =
            first_day(Scene::settled()).seen_in(BUCHAREST, used_since).seen_in(SINGAPORE, 30 * MINUTE);
        scene.found(ImpossibleTravel).0
    };
    assert_eq!((found(40 * MINUTE), found(2 * HOUR)), (Severity::High, Severity::Low));
}
