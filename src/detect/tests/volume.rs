//! Bursts, sizes, spikes of a day.

use super::*;
use AnomalyKind::{CostSpike, RequestSizeAnomaly, TokenUsageSpike, TrafficBurst};

#[test]
fn many_more_requests_than_the_hour_usually_sees_are_a_burst() {
    let (severity, summary) = Scene::settled().holding([42, 42, 39, 39]).found(TrafficBurst);
    assert_eq!(severity, Severity::High);
    assert_eq!(summary, "42 requests in 5 minutes at an hour that usually sees 5 at most; limit 20.");
}

#[test]
fn a_burst_at_an_hour_at_which_the_key_never_works_is_critical_if_it_shows_another_actor() {
    let night = || Scene::settled().holding([42, 42, 39, 39]).with(|scene| scene.key.now += 14 * HOUR);
    let finding = night().finding(TrafficBurst);
    assert_eq!(finding.severity, Severity::High, "volume alone bans nobody");
    assert_eq!(
        finding.evidence["severity_because"],
        "nothing shows another actor: the place and the client are the key's own"
    );
    let summary = "42 requests in 5 minutes at an hour at which the key never works; limit 12.";
    assert_eq!(finding.evidence["summary"], summary);
    let another = night().with(|scene| scene.record.user_agent = Some("curl/8.5.0".into()));
    assert_eq!(another.found(TrafficBurst).0, Severity::Critical);
}

#[test]
fn a_busy_hour_is_no_burst() {
    let scene = Scene::settled().holding([4, 19, 39, 39]);
    assert_eq!(scene.quiet(TrafficBurst), "no more than usual around this hour");
    assert_eq!(scene.margin(TrafficBurst), (39.0, 40.0, "requests in 1 hour"));
}

#[test]
fn a_short_history_knows_no_bursts() {
    let scene = Scene::unknown().with(|scene| scene.learn(NOON - 5 * HOUR, SINGAPORE));
    let margin = scene.holding([42, 42, 42, 42]).margin(TrafficBurst);
    assert_eq!(margin, (5.0, 24.0, "hours of history"));
}

#[test]
fn a_request_far_larger_than_usual_is_found() {
    let scene = Scene::settled().with(|scene| scene.record.tokens = 100_000);
    let (severity, summary) = scene.found(RequestSizeAnomaly);
    assert_eq!(severity, Severity::High);
    assert_eq!(
        summary,
        "100,000 tokens in one request, 100 times the usual 1,000: 15.4 standard deviations, limit 6."
    );
}

#[test]
fn a_run_of_larger_requests_is_found_where_one_would_not_be() {
    let larger = Scene::settled().with(|scene| scene.record.tokens = 2_700);
    assert_eq!(larger.quiet(RequestSizeAnomaly), "chance explains the last sizes");
    let (severity, summary) = larger.repeated(15).found(RequestSizeAnomaly);
    assert_eq!(severity, Severity::High);
    assert_eq!(
        summary,
        "The last 16 requests were on average 2.7 times the usual 1,000 tokens: 13.2 standard deviations, limit 6."
    );
}

#[test]
fn too_few_sizes_say_nothing() {
    let known = |sizes: i64, tokens: u64| {
        Scene::unknown().with(|scene| {
            for n in 0..sizes {
                scene.learn(NOON - 3 * DAY + n * 90 * MINUTE, SINGAPORE);
            }
            scene.record.tokens = tokens;
        })
    };
    assert_eq!(known(29, 100_000).margin(RequestSizeAnomaly), (29.0, 30.0, "sizes"));
    assert_eq!(known(40, 100_000).found(RequestSizeAnomaly).0, Severity::High);
    // Five deviations: too little while few sizes are known, a remark later.
    assert_eq!(known(40, 4_600).quiet(RequestSizeAnomaly), "chance explains the last sizes");
    assert_eq!(known(100, 4_600).found(RequestSizeAnomaly).0, Severity::Medium);
}

#[test]
fn a_day_above_the_others_is_a_spike_where_the_last_requests_are_large_too() {
    let day = |tokens: u64, large: u64| {
        Scene::settled().with(|scene| {
            for n in 0..24 {
                scene.record.tokens = tokens;
                scene.learn(NOON - 4 * HOUR + n * MINUTE, SINGAPORE);
            }
            scene.record.tokens = large;
        })
    };
    let ordinary = day(7_000, 1_000);
    assert_eq!(ordinary.found(TokenUsageSpike).0, Severity::Medium);
    assert_eq!(day(7_000, 2_500).repeated(15).found(TokenUsageSpike).0, Severity::High);
    let stranger =
        ordinary.from(BUCHAREST).seen_in(BUCHAREST, HOUR).with(|scene| scene.key.peers[0].hits = 11);
    assert_eq!(stranger.found(TokenUsageSpike).0, Severity::High, "from a new place");
}

#[test]
fn a_job_of_two_nights_has_a_schedule_and_a_person_of_two_mornings_none() {
    let worked = |an_hour: i64| {
        Scene::unknown().holding([1, 8, 30, 30]).with(|scene| {
            for request in (1..=2).flat_map(|day| (0..an_hour).map(move |n| day * DAY - n * HOUR / an_hour)) {
                scene.learn(NOON + 10 * HOUR - DAY - request, SINGAPORE);
            }
        })
    };
    let (severity, summary) = worked(60).found(TrafficBurst);
    assert_eq!(severity, Severity::High, "{summary}");
    assert_eq!(summary, "30 requests in 1 hour at an hour at which the key never works; limit 15.");
    assert_eq!(worked(15).quiet(TrafficBurst), "no more than usual around this hour");
}

#[test]
fn a_day_of_many_times_the_usual_tokens_and_cost_is_a_spike() {
    let scene = Scene::settled().with(|scene| {
        scene.record.tokens = 620_000;
        scene.record.cost_nanos = Some(6_200_000_000);
    });
    let (severity, summary) = scene.found(TokenUsageSpike);
    assert_eq!(severity, Severity::High);
    assert_eq!(
        summary,
        "620,000 tokens today, usually 100,000 a day: 20.8 standard deviations above the mean (limit 2.5), \
         6.2 times the mean (limit 3) and 6.2 times yesterday (limit 5)."
    );
    let (_, summary) = scene.found(CostSpike);
    assert!(summary.starts_with("$6.20 today, usually $1.00 a day: "), "{summary}");
}

#[test]
fn a_day_like_the_others_is_no_spike() {
    let scene = Scene::settled().with(|scene| scene.record.tokens = 120_000);
    assert_eq!(scene.quiet(TokenUsageSpike), "no more today than on the days before");
    let unreported = scene.with(|scene| scene.record.cost_nanos = None);
    assert_eq!(unreported.quiet(CostSpike), "the record does not report its cost");
}

#[test]
fn what_was_reported_an_hour_ago_is_medium_until_it_grows() {
    let about = |scene: &mut Scene, level: f64, hours: i64| {
        let at = NOON - hours * HOUR;
        scene.profile.later.alarms.raise(RequestSizeAnomaly, About { what: 0, level }, at);
    };
    let large = Scene::settled().with(|scene| scene.record.tokens = 100_000);
    let times_100 = 100_f64.ln();
    let reported = |level, hours| {
        Scene::settled().with(|scene| {
            scene.record.tokens = 100_000;
            about(scene, level, hours);
        })
    };
    assert_eq!(large.found(RequestSizeAnomaly).0, Severity::High);
    assert_eq!(
        reported(times_100, 0).found(RequestSizeAnomaly).0,
        Severity::High,
        "it was reported just now"
    );
    assert_eq!(reported(times_100, 2).found(RequestSizeAnomaly).0, Severity::Medium);
    assert_eq!(
        reported(10_f64.ln(), 2).found(RequestSizeAnomaly).0,
        Severity::High,
        "ten times what was reported"
    );
}

#[test]
fn twice_as_many_requests_from_a_new_place_are_found_where_from_home_they_are_not() {
    let busy = |scene: Scene| {
        scene.holding([3, 9, 30, 30]).with(|scene| {
            for peer in &mut scene.key.peers {
                peer.hits = 25;
            }
        })
    };
    let home = busy(Scene::settled().seen_in(SINGAPORE, 10 * MINUTE));
    assert_eq!(home.quiet(TrafficBurst), "no more than usual around this hour");
    let abroad = busy(Scene::settled().seen_in(BUCHAREST, 10 * MINUTE).from(BUCHAREST));
    let (severity, summary) = abroad.found(TrafficBurst);
    assert_eq!(severity, Severity::High);
    assert!(summary.starts_with("30 requests in 1 hour, from a new place"), "{summary}");
}
