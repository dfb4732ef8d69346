//! Failures, stuffing, scans, drift.

use super::*;
use crate::domain::window::FIVE_MINUTES;
use AnomalyKind::{BehavioralDrift, CredentialStuffing, EndpointScan, HighFailureRate};

/// An address that had credentials refused in 5 minutes, an hour and a day, of so many other keys.
fn failing(counts: [u64; 3], others: usize) -> Observation {
    let mut address = Observation::empty(NOON);
    for (window, failures) in address.counts[FIVE_MINUTES..].iter_mut().zip(counts) {
        window.auth_failures = failures;
    }
    address.peers = (0..others).map(|n| failed(&format!("other-{n}"), 1)).collect();
    address
}

/// A key that failed a minute ago, so many times.
fn failed(key: &str, hits: u64) -> PeerSeen {
    let at = NOON - MINUTE;
    PeerSeen { peer: Peer::key(&Subject::key(key), false), first_seen: at, last_seen: at, hits }
}

/// A key's credentials are refused in Bucharest, where the key never was.
fn refused_abroad(scene: Scene, address: Observation) -> Scene {
    scene.from(BUCHAREST).with(|scene| {
        scene.record.status = 401;
        scene.address = Some(address);
    })
}

#[test]
fn credentials_refused_in_a_keys_name_accuse_their_source() {
    let tried = |failures| refused_abroad(Scene::settled(), failing([failures, failures, failures], 0));
    assert_eq!(tried(4).margin(HighFailureRate), (4.0, 5.0, "refused credentials of one address"));
    let finding = tried(5).finding(HighFailureRate);
    assert_eq!((finding.severity, finding.accused), (Severity::High, Accused::Address));
    assert_eq!(tried(32).found(HighFailureRate).0, Severity::High);
    let (severity, summary) = tried(33).found(HighFailureRate);
    assert_eq!(severity, Severity::Critical);
    assert_eq!(
        summary,
        "33 credentials of 1 key from one address were refused with 401 or 403 in 5min; limit 5."
    );
}

#[test]
fn no_other_detector_says_anything_of_refused_credentials() {
    let scene = refused_abroad(Scene::settled().seen_in(SINGAPORE, 30 * MINUTE), failing([3, 3, 3], 0));
    for judged in scene.look(reports) {
        assert!(judged.result.is_err(), "{:?}", judged.kind);
    }
    assert_eq!(
        scene.quiet(AnomalyKind::ImpossibleTravel),
        "the credentials were refused, which accuses their source and not the key"
    );
}

#[test]
fn guesses_are_found_over_minutes_an_hour_and_a_day() {
    let severity = |counts, others| {
        let result = refused_abroad(Scene::unknown(), failing(counts, others)).result(HighFailureRate);
        result.map_or(Severity::Low, |finding| finding.severity)
    };
    assert_eq!(severity([10, 30, 100], 8), Severity::Low);
    assert_eq!(severity([11, 11, 11], 8), Severity::High);
    assert_eq!(severity([9, 31, 31], 8), Severity::High);
    assert_eq!(severity([2, 20, 101], 8), Severity::High);
    assert_eq!(severity([33, 33, 33], 8), Severity::Critical);
    assert_eq!(severity([200, 200, 200], 0), Severity::High, "one wrong key is no guesser's");
}

#[test]
fn a_key_that_an_address_failed_with_and_then_succeeds_from_there_was_guessed() {
    let succeeds = |scene: Scene, hits| {
        scene.from(BUCHAREST).with(|scene| {
            let mut address = failing([20, 20, 20], 3);
            address.peers.push(failed("a", hits));
            scene.address = Some(address);
        })
    };
    let finding = succeeds(Scene::settled(), 11).finding(HighFailureRate);
    assert_eq!((finding.severity, finding.accused), (Severity::Critical, Accused::Address));
    assert_eq!(
        succeeds(Scene::settled(), 10).quiet(HighFailureRate),
        "the key did not fail often from this address"
    );
    let newcomer = succeeds(Scene::unknown(), 11);
    assert_eq!(newcomer.quiet(HighFailureRate), "the key did not fail often from this address");
}

#[test]
fn credentials_refused_where_the_key_succeeds_accuse_nobody() {
    let refused = |status| {
        Scene::settled().holding([20, 20, 20, 20]).with(|scene| {
            scene.record.status = status;
            scene.key.counts[FIVE_MINUTES].auth_failures = 15;
        })
    };
    let why = refused(401).quiet(HighFailureRate);
    assert_eq!(why, "the key succeeds from this network: a revoked key, or an outage");
    let (severity, summary) = refused(403).found(HighFailureRate);
    assert_eq!(severity, Severity::Medium, "permissions are the owner's");
    assert_eq!(summary, "15 of 20 requests in 5 minutes were refused with 403 (75 %, limit 43.5 %).");
}

#[test]
fn a_few_forbidden_requests_are_left_alone() {
    let some = |failures| {
        Scene::settled().holding([40, 40, 40, 40]).with(|scene| {
            scene.key.counts[FIVE_MINUTES].auth_failures = failures;
        })
    };
    assert_eq!(some(0).quiet(HighFailureRate), "no request of the key was refused with 403 in 5 minutes");
    assert_eq!(some(10).quiet(HighFailureRate), "few enough requests were refused");
}

#[test]
fn an_address_with_a_list_of_keys_is_accused_and_not_the_key() {
    let tried = |keys: usize| refused_abroad(Scene::unknown(), failing([1, 1, 1], keys));
    let finding = tried(11).finding(CredentialStuffing);
    assert_eq!((finding.severity, finding.accused), (Severity::Critical, Accused::Address));
    assert_eq!(
        finding.evidence["summary"],
        "12 keys that never succeeded were refused from one address within 10 minutes; limit 10."
    );
    assert_eq!(tried(5).margin(CredentialStuffing), (6.0, 10.0, "failing keys of one address"));
}

#[test]
fn somebody_who_tries_paths_is_found() {
    let probing = Scene::settled().with(|scene| {
        scene.record.endpoint = "/admin".into();
        scene.record.status = 404;
    });
    assert_eq!(probing.quiet(EndpointScan), "too few endpoints were probed");
    let again = probing.repeated(20);
    assert_eq!(again.quiet(EndpointScan), "the same few endpoints were tried");
    let scanning = (0..9).fold(Scene::settled(), |scene, n| {
        scene
            .with(|scene| {
                scene.record.endpoint = format!("/admin/{}", ["a", "b", "c", "d", "e"][n % 5]).into();
                scene.record.status = 404;
            })
            .repeated(1)
    });
    let (severity, summary) = scanning.found(EndpointScan);
    assert_eq!(severity, Severity::High);
    assert_eq!(
        summary,
        "10 of the last 10 requests in 10 minutes were refused on 5 paths that the key never called; limit 8."
    );
}

#[test]
fn a_known_path_that_is_gone_is_no_scan() {
    let gone = Scene::settled().with(|scene| scene.record.status = 404).repeated(20);
    assert_eq!(gone.quiet(EndpointScan), "the same few paths were refused");
}

#[test]
fn several_new_things_at_once_are_drift() {
    let scene = Scene::settled().from(BUCHAREST).with(|scene| {
        scene.record.user_agent = Some("curl/8.5.0".into());
        scene.record.model = Some("o3".into());
    });
    let (severity, summary) = scene.found(BehavioralDrift);
    assert_eq!(severity, Severity::Critical);
    assert_eq!(
        summary,
        "New at once after 14 known days: place (Bucharest), client (curl) and model (o3); weight 10.2, high from 4.5."
    );
}

#[test]
fn a_place_a_client_and_a_model_of_a_service_may_be_a_move_and_ban_nobody() {
    let moved = |endpoint: &'static str| {
        let mut scene = Scene::settled();
        (1..=24 * DAYS).for_each(|hour| scene.learn(NOON - hour * HOUR, SINGAPORE));
        scene.from(BUCHAREST).with(|scene| {
            scene.record.user_agent = Some("curl/8.5.0".into());
            scene.record.model = Some("o3".into());
            scene.record.endpoint = endpoint.into();
        })
    };
    assert_eq!(moved("/v1/chat/completions").found(BehavioralDrift).0, Severity::High);
    assert_eq!(moved("/v1/files").found(BehavioralDrift).0, Severity::Critical);
}

#[test]
fn one_new_thing_is_no_drift_however_new_it_is() {
    let scene = Scene::settled().with(|scene| scene.record.user_agent = Some("curl/8.5.0".into()));
    assert_eq!(scene.margin(BehavioralDrift), (1.0, 3.0, "new things"));
}

/// A client asks below one path whether something is there, is told 404, and `then` comes a second later; 40 times.
fn looks_up(then: impl Fn(&mut Scene)) -> Scene {
    let looks = |scene: &mut Scene, n: i64| {
        scene.record.endpoint = format!("/v1/objects/name-{}", char::from(b'a' + n as u8)).into();
        scene.record.status = 404;
    };
    let mut scene = Scene::settled();
    let ordinary = scene.record.clone();
    for n in 0..16 {
        for followed in [false, true] {
            scene.record = ordinary.clone();
            looks(&mut scene, n);
            if followed {
                scene.record = ordinary.clone();
                then(&mut scene);
            }
            let at = NOON - (16 - n) * 30_000 + if followed { 1_000 } else { 0 };
            let seen = scene.look(|case| case.seen());
            scene.recent.push(Seen { at, ..seen });
        }
    }
    scene.record = ordinary;
    looks(&mut scene, 16);
    scene
}

#[test]
fn look_ups_that_expect_to_miss_are_no_scan() {
    let scene = looks_up(|_| ());
    assert_eq!(scene.quiet(EndpointScan), "what was not there was looked up, and then made");
}

#[test]
fn misses_that_nothing_follows_or_only_another_clients_success_are_a_scan() {
    let nothing = looks_up(|scene| scene.record.status = 500);
    assert_eq!(nothing.found(EndpointScan).0, Severity::High);
    let anothers = looks_up(|scene| scene.record.user_agent = Some("curl/8.5.0".into()));
    assert_eq!(anothers.found(EndpointScan).0, Severity::High);
}

#[test]
fn a_scan_over_names_that_make_one_template_is_found() {
    let scanning = (0..20).fold(Scene::settled(), |scene, n| {
        let path = format!("/old-20{:02}-01-01.sql", n);
        let probing =
            |scene: &mut Scene| (scene.record.endpoint, scene.record.status) = (path.as_str().into(), 404);
        scene.with(probing).repeated(1)
    });
    assert_eq!(scanning.found(EndpointScan).0, Severity::High, "nothing shows another actor");
    let stranger = scanning.with(|scene| scene.record.user_agent = Some("curl/8.5.0".into()));
    assert_eq!(stranger.found(EndpointScan).0, Severity::Critical);
}

#[test]
fn a_client_that_names_itself_not_is_as_new_as_any() {
    let scene = Scene::settled().from(BUCHAREST).with(|scene| scene.record.user_agent = None);
    let (severity, summary) = scene.found(BehavioralDrift);
    assert_eq!(severity, Severity::High);
    assert!(summary.contains("client (none named)"), "{summary}");
    let mut silent = Scene::unknown();
    silent.record.user_agent = None;
    for hour in 0..24 * DAYS {
        silent.learn(NOON - hour * HOUR, SINGAPORE);
    }
    assert_eq!(silent.margin(BehavioralDrift), (0.0, 3.0, "new things"));
}
