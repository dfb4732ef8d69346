//! Detectors on their own: each finds the clear case, stays quiet where its page says so, and says both plainly.

mod conduct;
mod machines;
mod parts;
mod places;
mod volume;

use std::net::IpAddr;

use super::*;
use crate::{
    config::default_policy,
    domain::{
        DAY, HOUR, MINUTE, Millis,
        allowlist::Allowlist,
        finding::{Accused, Severity},
        observation::{ClientMark, Observation, Peer, PeerSeen},
        place::{Coordinates, Place, PlaceCore, PlaceSummary, Prefix},
        policy::Policy,
        profile::{About, Profile, Sample},
        record::Record,
        subject::Subject,
    },
};

/// Monday 2026-03-02, 12:00 UTC.
const NOON: Millis = 1_772_452_800_000;
/// Days that a settled key has worked.
const DAYS: i64 = 14;

/// A city of the tests.
#[derive(Clone, Copy)]
struct City {
    name: &'static str,
    country: [u8; 2],
    asn: u32,
    latitude: f64,
    longitude: f64,
}

const SINGAPORE: City =
    City { name: "Singapore", country: *b"SG", asn: 64_501, latitude: 1.29, longitude: 103.85 };
const BUCHAREST: City =
    City { name: "Bucharest", country: *b"RO", asn: 64_502, latitude: 44.43, longitude: 26.11 };
const LIMA: City = City { name: "Lima", country: *b"PE", asn: 64_503, latitude: -12.05, longitude: -77.04 };
const CITIES: [City; 3] = [SINGAPORE, BUCHAREST, LIMA];

impl City {
    /// Every city has a documentation network of its own.
    fn address(self) -> IpAddr {
        [203, 0, (self.asn % 256) as u8, 7].into()
    }

    fn core(self) -> PlaceCore {
        let Self { latitude, longitude, .. } = self;
        PlaceCore {
            asn: self.asn,
            country: Some(self.country),
            coordinates: Some(Coordinates { latitude, longitude, radius_km: 20 }),
            ..PlaceCore::unknown(self.address())
        }
    }

    fn place(self) -> Place {
        Place { core: self.core(), city: Some(self.name.into()), organization: None }
    }
}

fn describe(core: &PlaceCore) -> PlaceSummary {
    let city = CITIES.into_iter().find(|city| city.core().prefix == core.prefix);
    city.map_or_else(PlaceSummary::default, |city| city.place().summary())
}

/// One request and all that is known when it is judged. Begins as an ordinary request; a test changes what it is about.
struct Scene {
    record: Record,
    place: Option<Place>,
    key: Observation,
    address: Option<Observation>,
    profile: Profile,
    prior: Option<Profile>,
    recent: Recent,
    policy: Policy,
    allowlist: Allowlist,
    geo_loaded: Option<Millis>,
}

/// The same case with what others show.
fn with_crowd<'a>(case: &Case<'a>, crowd: Crowd) -> Case<'a> {
    let parts = (case.profile, case.prior, case.recent);
    let mut case = Case::new(
        (case.record, case.attribution),
        case.place,
        case.key,
        case.address,
        parts,
        case.features,
        (case.policy, case.allowlist),
        (case.describe, case.geo_loaded),
    );
    case.crowd = crowd;
    case
}

impl Scene {
    /// Monday noon, from Singapore: one more request of a key that has worked there from 8 to 18 each day of two
    /// weeks, ten requests an hour of about 1,000 tokens and 1 cent each, at most 2 of them in one minute.
    fn settled() -> Self {
        let mut scene = Self::unknown();
        for hour in (1..=DAYS).flat_map(|day| (8..18).map(move |hour| (hour - 12) * HOUR - day * 24 * HOUR)) {
            for request in 0..10 {
                scene.learn(NOON + hour + request * 5 * MINUTE, SINGAPORE);
            }
        }
        scene
    }

    /// The same request, the first of its key.
    fn unknown() -> Self {
        let mut key = Observation::empty(NOON);
        for window in &mut key.counts {
            window.requests = 1;
        }
        Self {
            record: Record {
                request_id: "r-1".into(),
                request_id_given: true,
                key_id: "a".into(),
                key: Subject::key("a"),
                former_keys: Vec::new(),
                address: Subject::ip(SINGAPORE.address()),
                project: None,
                endpoint: "/v1/chat/completions".into(),
                user: None,
                model: Some("gpt-4.1".into()),
                model_identity: None,
                tokens: 1_000,
                prompt_tokens: None,
                completion_tokens: None,
                cached_tokens: None,
                cost_nanos: Some(10_000_000),
                price_fallback: false,
                latency_ms: None,
                source_ip: SINGAPORE.address(),
                user_agent: Some("openai-python/1.51.0".into()),
                status: 200,
                timestamp: None,
                late: false,
                refused_by_keyward: false,
                reservation_id: None,
                usage_known: true,
                admit: false,
                observes: false,
                is_part: false,
                of_either_kind: false,
                digest: 0,
            },
            place: Some(SINGAPORE.place()),
            key,
            address: None,
            profile: Profile::default(),
            prior: None,
            recent: Recent::default(),
            policy: default_policy(),
            allowlist: Allowlist::default(),
            geo_loaded: None,
        }
    }

    /// The profile learns a request as the record is, made at `at` from `city`.
    fn learn(&mut self, at: Millis, city: City) {
        let features = Features::of(&self.record);
        self.profile.learn(&Sample {
            now: at,
            place: Some(&city.core()),
            came_from: None,
            client: Some(&features.client),
            endpoint: &features.endpoint,
            model: self.record.model.as_deref(),
            tokens: self.record.tokens,
            fresh_tokens: self.record.tokens,
            cost_nanos: self.record.cost_nanos.unwrap_or(0),
            outcome: self.record.outcome(),
            peaks: (2, 5),
        });
    }

    /// The request comes from this city.
    fn from(mut self, city: City) -> Self {
        self.place = Some(city.place());
        self.record.source_ip = city.address();
        self
    }

    /// The key was last seen in this city so long before.
    fn seen_in(mut self, city: City, before: Millis) -> Self {
        let at = NOON - before;
        self.key.peers.push(PeerSeen {
            peer: Peer::place(&city.core(), ClientMark::of("openai-python")),
            first_seen: at,
            last_seen: at,
            hits: 1,
        });
        self
    }

    /// The windows from the shortest on hold so many requests.
    fn holding(mut self, requests: [u64; 4]) -> Self {
        for (window, requests) in self.key.counts.iter_mut().zip(requests) {
            window.requests = requests;
        }
        self
    }

    /// Changes anything else about the scene.
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The same request so many times before, each a second after the other, as the instance remembers them.
    fn repeated(mut self, times: i64) -> Self {
        for n in 0..times {
            let seen = self.look(|case| case.seen());
            self.recent.push(Seen { at: NOON - (times - n) * 1_000, ..seen });
        }
        self
    }

    fn look<T>(&self, look: impl FnOnce(&Case<'_>) -> T) -> T {
        let features = Features::of(&self.record);
        let source = self.record.source_ip;
        let attribution = Attribution::of(self.record.status, Some(&self.profile), Prefix::of(source));
        look(&Case::new(
            (&self.record, attribution),
            self.place.as_ref(),
            &self.key,
            self.address.as_ref(),
            (&self.profile, self.prior.as_ref(), &self.recent),
            &features,
            (&self.policy, &self.allowlist),
            (&describe, self.geo_loaded),
        ))
    }

    fn result(&self, kind: AnomalyKind) -> DetectorResult {
        self.look(reports).into_iter().find(|judged| judged.kind == kind).unwrap().result
    }

    fn finding(&self, kind: AnomalyKind) -> Finding {
        self.result(kind).unwrap()
    }

    /// The severity of the finding and its sentence.
    fn found(&self, kind: AnomalyKind) -> (Severity, String) {
        let finding = self.finding(kind);
        (finding.severity, finding.evidence["summary"].as_str().unwrap().to_owned())
    }

    /// Why there is no finding.
    fn quiet(&self, kind: AnomalyKind) -> &'static str {
        self.result(kind).unwrap_err().why
    }

    /// Observed, threshold and unit of what was not enough.
    fn margin(&self, kind: AnomalyKind) -> (f64, f64, &'static str) {
        let margin = self.result(kind).unwrap_err().margin.unwrap();
        (margin.observed.round(), margin.threshold, margin.unit)
    }
}

#[test]
fn every_detector_is_quiet_about_an_ordinary_request_and_says_why() {
    let judged = Scene::settled().look(reports);
    assert_eq!(judged.len(), AnomalyKind::ALL.len());
    for DetectorReport { kind, result, .. } in judged {
        assert!(!result.unwrap_err().why.is_empty(), "{kind:?}");
    }
}

#[test]
fn the_findings_are_those_of_the_reports_in_the_same_order() {
    let scene = Scene::settled().seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST).with(|scene| {
        scene.record.tokens = 90_000;
    });
    let findings = scene.look(judge);
    assert!(findings.len() > 1);
    let found: Vec<Finding> = scene.look(reports).into_iter().filter_map(|j| j.result.ok()).collect();
    assert_eq!(findings, found);
}

#[test]
fn a_detector_that_is_off_finds_nothing_and_says_so() {
    let scene = Scene::settled().seen_in(SINGAPORE, 30 * MINUTE).from(BUCHAREST).with(|scene| {
        scene.policy.detectors.impossible_travel.mode = Mode::Off;
    });
    assert!(scene.look(judge).iter().all(|finding| finding.kind != AnomalyKind::ImpossibleTravel));
    assert_eq!(scene.quiet(AnomalyKind::ImpossibleTravel), "the policy has it switched off");
}
