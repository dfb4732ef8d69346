//! Failures, stuffing, scans, drift.

use super::*;
use crate::domain::window::FIVE_MINUTES;
use AnomalyKind::{BehavioralDrift, CredentialStuffing, EndpointScan, HighFailureRate};

#[test]
fn refused_credentials_in_a_row_are_found() {
    let scene = Scene::settled().holding([20, 20, 20, 20]).with(|scene| {
        scene.key.counts[FIVE_MINUTES].auth_failures = 15;
        scene.record.status = 401;
    });
    let (severity, summary) = scene.found(HighFailureRate);
    assert_eq!(severity, Severity::High);
    assert_eq!(summary, "15 of 20 requests in 5 minutes were refused with 401 or 403 (75 %, limit 43.5 %).");
    let (severity, summary) = scene.with(|scene| scene.record.status = 200).found(HighFailureRate);
    assert_eq!(severity, Severity::Critical);
    assert!(summary.ends_with("; then one succeeded."), "{summary}");
}

#[test]
fn a_few_refused_credentials_are_left_alone() {
    let some = |failures| {
        Scene::settled().holding([40, 40, 40, 40]).with(|scene| {
            scene.key.counts[FIVE_MINUTES].auth_failures = failures;
        })
    };
    assert_eq!(some(0).quiet(HighFailureRate), "no request was refused with 401 or 403 in 5 minutes");
    assert_eq!(some(10).quiet(HighFailureRate), "few enough requests were refused");
}

#[test]
fn an_address_with_a_list_of_keys_is_accused_and_not_the_key() {
    let tried = |keys: usize| {
        Scene::unknown().with(|scene| {
            let mut address = Observation::empty(NOON);
            address.peers = (0..keys)
                .map(|n| PeerSeen {
                    peer: Peer::key(&Subject::key(&format!("other-{n}"))),
                    first_seen: NOON - MINUTE,
                    last_seen: NOON - MINUTE,
                    hits: 1,
                })
                .collect();
            scene.address = Some(address);
        })
    };
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
        "10 of the last 10 requests in 10 minutes were refused on 5 endpoints that the key never called; limit 8."
    );
}

#[test]
fn a_known_path_that_is_gone_is_no_scan() {
    let gone = Scene::settled().with(|scene| scene.record.status = 404).repeated(20);
    assert_eq!(gone.quiet(EndpointScan), "the endpoint is known, or the request was not refused");
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
fn one_new_thing_is_no_drift_however_new_it_is() {
    let scene = Scene::settled().with(|scene| scene.record.user_agent = Some("curl/8.5.0".into()));
    assert_eq!(scene.margin(BehavioralDrift), (1.0, 3.0, "new things"));
}
