//! A policy that only observes: nothing is refused, everything says what would have been, and none of it bites later.

use super::*;
use crate::{
    domain::{
        decision::Would,
        enforcement::Enforcement,
        policy::OnStoreFailure,
        registry::{Entry, Project, UnknownKeys},
        standing::{Origin, StandingState},
    },
    engine::Base,
};

fn watching(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy { preset: Preset::Strict, enforcement: Enforcement::Observe, ..default_policy() };
    change(&mut policy);
    policy
}

async fn day(change: impl FnOnce(&mut Policy)) -> Day {
    Day::with(|policy| *policy = watching(change)).await
}

impl Day {
    /// Changes how the policy in force is enforced.
    async fn switch(&self, enforcement: Enforcement) {
        let policy = Policy { enforcement, ..self.engine.policy().policy.clone() };
        self.engine.policy_changes().set_policy(&policy, &Actor::local(), self.now).await.unwrap();
    }

    /// A key that is banned for its travel, in theory or in fact.
    async fn travel(&mut self) -> Decision {
        self.ask(json!({})).await;
        self.now += MINUTE;
        self.ask(json!({"source_ip": BUCHAREST})).await
    }

    async fn ban(&self, key: &str) {
        let (subject, by) = (Subject::key(key), Actor::local());
        self.engine.bans().ban(&subject, None, "leaked", &by, self.now).await.unwrap();
    }

    async fn stands(&self, key: &str) -> crate::domain::standing::Standing {
        self.engine.standings().of(&Subject::key(key)).await.unwrap().standing
    }
}

/// What would have been, of a request that was let through.
fn would(decision: &Decision) -> (bool, Action, Option<Reason>) {
    assert!(decision.allowed && decision.action <= Action::Alert, "{decision:?}");
    let would = decision.would.unwrap();
    (would.allowed, would.action, would.reason)
}

#[tokio::test]
async fn a_traveller_is_let_through_and_its_ban_goes_on_in_theory_until_it_ends() {
    let mut day = day(|_| ()).await;
    let found = day.travel().await;
    let critical = Some(Reason::CriticalAnomalyDetected);
    assert_eq!(would(&found), (false, Action::TemporaryBan, critical));
    assert_eq!((found.action, found.would.unwrap().retry_after_seconds), (Action::Alert, Some(1800)));
    let again = day.ask(json!({})).await;
    assert_eq!(would(&again), (false, Action::TemporaryBan, Some(Reason::ApiKeyBanned)));
    assert_eq!(again.action, Action::None);
    day.now += 31 * MINUTE;
    assert_eq!(day.ask(json!({})).await.would, None);
    let standing = day.stands("a").await;
    assert!(standing.unenforced && standing.origin == Origin::Detector);
}

#[tokio::test]
async fn events_say_what_would_have_been_and_claim_nothing_that_was_not_done() {
    let mut day = day(|_| ()).await;
    day.travel().await;
    day.ask(json!({})).await;
    for (kind, action) in [
        (EventType::Anomaly(AnomalyKind::ImpossibleTravel), "alert"),
        (EventType::HighSeverityAnomaly, "alert"),
        (EventType::TemporaryBan, "none"),
        (EventType::BannedRequestBlocked, "none"),
    ] {
        let event = day.events(kind).await.remove(0);
        let would = event.would.unwrap();
        assert_eq!((event.action.as_deref(), would.allowed), (Some(action), false), "{kind}");
        assert_eq!(would.action, Action::TemporaryBan, "{kind}");
    }
    let ban = day.events(EventType::TemporaryBan).await.remove(0);
    let expected = Would::refuse(
        Action::TemporaryBan,
        Reason::CriticalAnomalyDetected,
        Some(day.now + 1_800_000),
        day.now,
    );
    assert_eq!(ban.would, Some(expected));
}

#[tokio::test]
async fn what_detectors_banned_and_throttled_while_observing_does_not_hold_afterwards() {
    let mut day = day(|_| ()).await;
    day.travel().await;
    day.switch(Enforcement::Enforce).await;
    let free = day.ask(json!({})).await;
    assert!(free.allowed && free.would.is_none(), "{free:?}");
    assert_eq!(free.limits[0].used, 30, "and the store charged it");
    for n in 0..10 {
        day.now += SECOND;
        day.ask(json!({"key_id": "b", "endpoint": format!("/guess/{n}"), "response_status": 404})).await;
    }
    assert_eq!(day.stands("b").await.state_at(day.now), StandingState::Throttled);
}

#[tokio::test]
async fn an_observed_throttle_halves_limits_in_theory_alone() {
    let mut day = day(|policy| {
        policy.limits.tokens = [("1hour".to_owned(), 1000)].into();
        policy.ladder.throttle_share = 0.5;
    })
    .await;
    let mut last = day.ask(json!({})).await;
    for n in 0..10 {
        day.now += SECOND;
        let guess = json!({"endpoint": format!("/guess/{n}"), "response_status": 404, "tokens_used": 0});
        last = day.ask(guess).await;
    }
    assert_eq!(last.ruling().action, Action::Throttle);
    let half = json!({"tokens_used": 600, "admit": true});
    let refused = day.ask(half.clone()).await;
    assert_eq!(would(&refused), (false, Action::Throttle, Some(Reason::RateLimitExceeded)));
    day.switch(Enforcement::Enforce).await;
    let decision = day.ask(half).await;
    assert!(decision.reason != Some(Reason::RateLimitExceeded), "{decision:?}");
}

#[tokio::test]
async fn a_real_ban_after_observed_ones_is_as_long_as_a_first_one() {
    let mut day = day(|policy| policy.ladder.permanent_without_person = true).await;
    for _ in 0..4 {
        day.travel().await;
        day.now += 2 * DAY;
    }
    assert!(day.stands("a").await.strikes > 1.0);
    day.switch(Enforcement::Enforce).await;
    let banned = day.travel().await;
    assert_eq!((banned.allowed, banned.action), (false, Action::TemporaryBan));
    assert_eq!(banned.retry_after_seconds(), Some(1800));
    let standing = day.stands("a").await;
    assert_eq!((standing.unenforced, standing.unenforced_bans, standing.bans), (false, 0, 1));
}

#[tokio::test]
async fn an_operators_ban_is_said_while_observing_and_holds_when_the_policy_enforces() {
    let mut day = day(|_| ()).await;
    day.ask(json!({})).await;
    day.ban("a").await;
    assert_eq!(would(&day.ask(json!({})).await), (false, Action::PermanentBan, Some(Reason::ApiKeyBanned)));
    let event = day.events(EventType::PermanentBan).await.remove(0);
    assert_eq!(event.would.map(|would| would.action), Some(Action::PermanentBan));
    day.switch(Enforcement::Enforce).await;
    assert_eq!(day.ask(json!({})).await.reason, Some(Reason::ApiKeyBanned));
    assert!(!day.ask(json!({})).await.allowed);
}

#[tokio::test]
async fn a_detectors_ban_that_was_enforced_holds_again_after_a_time_of_observing() {
    let mut day = Day::strict().await;
    assert!(!day.travel().await.allowed);
    day.switch(Enforcement::Observe).await;
    assert_eq!(would(&day.ask(json!({})).await), (false, Action::TemporaryBan, Some(Reason::ApiKeyBanned)));
    day.switch(Enforcement::Enforce).await;
    assert!(!day.ask(json!({})).await.allowed);
}

#[tokio::test]
async fn limits_and_budgets_are_said_and_not_held() {
    let mut day = day(|policy| {
        policy.limits.tokens.insert("1min".to_owned(), 25);
    })
    .await;
    let budget =
        Project { budget_usd: serde_json::from_value(json!("0.001")).unwrap(), ..Project::default() };
    day.engine.registry_changes().put("p", &Entry::Project(budget), &Actor::local(), day.now).await.unwrap();
    for _ in 0..2 {
        assert_eq!(day.ask(json!({})).await.would, None);
    }
    let over = day.ask(json!({"admit": true})).await;
    assert_eq!(would(&over), (false, Action::Throttle, Some(Reason::RateLimitExceeded)));
    assert_eq!(day.used("a").await, 20, "an admission that would have been refused enters no window");
    let dear =
        json!({"key_id": "b", "project_id": "p", "model": "gpt-4.1", "prompt_tokens": 20, "cost_usd": 1.0});
    let spent = day.ask(dear).await;
    assert_eq!(would(&spent), (false, Action::Throttle, Some(Reason::BudgetExceeded)));
    let logged = day.events(EventType::RateLimitExceeded).await;
    assert!(logged.iter().all(|e| e.would.is_some() && e.action.as_deref() == Some("none")), "{logged:?}");
}

#[tokio::test]
async fn a_check_gives_a_reservation_where_the_hold_fits_and_the_record_settles_it() {
    let mut day = day(|policy| policy.limits.tokens = [("1hour".to_owned(), 1000)].into()).await;
    let estimate = |day: &Day, tokens: u64| day.record(json!({"tokens_used": tokens}));
    let held = day.engine.check(&estimate(&day, 600), true, day.now).await;
    let reservation = held.reserved.unwrap();
    let unfit = day.engine.check(&estimate(&day, 600), true, day.now).await;
    assert_eq!(would(&unfit), (false, Action::Throttle, Some(Reason::RateLimitExceeded)));
    assert_eq!(unfit.reserved, None);
    let settled = day.ask(json!({"tokens_used": 100, "reservation_id": &*reservation.id})).await;
    assert_eq!(settled.would, None);
    assert_eq!(settled.limits[0].used, 100);
    let logged = day.events(EventType::RateLimitExceeded).await;
    assert_eq!(logged[0].evidence["call"], "check");
}

#[tokio::test]
async fn the_registry_and_a_store_that_is_away_refuse_nobody() {
    let policy = watching(|policy| {
        policy.on_store_failure.record = OnStoreFailure::Deny;
        policy.on_store_failure.check = OnStoreFailure::Deny;
    });
    let day = Day::with(|_| ()).await;
    let registry =
        crate::domain::registry::Configured { unknown_keys: UnknownKeys::Refuse, ..Default::default() };
    let base = Base { registry: Arc::new(registry), ..Base::from(policy) };
    let (store, geo) = (day.engine.shared.store.clone(), day.engine.geo.clone());
    let engine = Engine::start(store, geo, base, day.engine.options.clone()).await.unwrap();
    let mut day = Day { engine, ..day };
    let unknown = day.ask(json!({})).await;
    assert_eq!(would(&unknown), (false, Action::None, Some(Reason::UnknownKey)));
    let event = day.events(EventType::UnknownKey).await.remove(0);
    assert_eq!(
        event.evidence["summary"],
        "Would be refused: the key is not registered, and such keys are refused."
    );
    let known = Entry::Key(serde_json::from_value(json!({})).unwrap());
    day.engine.registry_changes().put("a", &known, &Actor::local(), day.now).await.unwrap();
    for _ in 0..5 {
        day.engine.shared.breaker.failed(day.now);
    }
    let away = day.ask(json!({})).await;
    assert_eq!(would(&away), (false, Action::Throttle, Some(Reason::StoreUnavailable)));
    assert!(away.degraded);
    let asked = day.record(json!({}));
    let check = day.engine.check(&asked, false, day.now).await;
    assert_eq!(would(&check).2, Some(Reason::StoreUnavailable));
}

#[tokio::test]
async fn a_retry_of_an_admission_that_would_have_been_refused_is_looked_at_anew() {
    let mut day = day(|policy| policy.limits.tokens = [("1min".to_owned(), 15)].into()).await;
    day.ask(json!({})).await;
    let fields = json!({"request_id": "r-1", "admit": true});
    assert!(!day.ask(fields.clone()).await.ruling().allowed);
    day.now += 2 * MINUTE;
    assert_eq!(day.ask(fields).await.would, None);
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One step of a script, on a day that enforces and on one that observes. False: it stopped a part of the key's
/// traffic, which a policy that observes does not, so that the days differ from then on.
async fn step(dice: &mut Dice, days: &mut [Day; 2], held: &mut [Vec<String>; 2]) -> bool {
    let (key, away, fails) = (["a", "b", "c"][dice.roll(3) as usize], dice.roll(6) == 0, dice.roll(4) == 0);
    let (tokens, pause, kind) = (dice.roll(400), dice.roll(20), dice.roll(40));
    let pause = if pause == 0 { HOUR } else { pause as Millis * SECOND };
    let (mut rulings, mut stops_a_part) = (Vec::new(), false);
    for (day, held) in days.iter_mut().zip(held) {
        day.now += pause;
        let mut fields = json!({
            "key_id": key, "tokens_used": tokens, "source_ip": if away { BUCHAREST } else { SINGAPORE },
            "response_status": if fails { 401 } else { 200 },
        });
        let decision = match kind {
            0 => {
                day.engine
                    .bans()
                    .ban(&Subject::key(key), Some(5 * MINUTE), "x", &Actor::local(), day.now)
                    .await
                    .unwrap();
                continue;
            }
            1 => {
                day.engine.bans().lift(&Subject::key(key), "x", &Actor::local(), day.now).await.unwrap();
                continue;
            }
            2..10 => {
                let record = day.record(fields);
                let decision = day.engine.check(&record, kind < 6, day.now).await;
                held.extend(decision.reserved.iter().map(|reservation| reservation.id.to_string()));
                decision
            }
            10..14 if !held.is_empty() => {
                fields["reservation_id"] = held.remove(0).into();
                day.ask(fields).await
            }
            _ => day.ask(fields).await,
        };
        stops_a_part |= decision.anomalies.iter().any(|finding| finding.evidence.get("held").is_some());
        rulings.push((decision.ruling(), decision.limits.clone()));
        if day.engine.policy().observes() {
            assert!(decision.allowed && decision.action <= Action::Alert, "{decision:?}");
        }
    }
    let [enforced, observed] = rulings.as_slice() else { return true };
    assert_eq!(enforced, observed);
    !stops_a_part
}

#[tokio::test]
async fn what_would_have_been_is_what_enforcement_says_whatever_happens() {
    let script = |policy: &mut Policy, enforcement| {
        *policy = watching(|policy| {
            policy.limits.tokens = [("1min".to_owned(), 2_000), ("1hour".to_owned(), 20_000)].into();
            policy.ladder.permanent_without_person = true;
            policy.detectors.failure_rate.min_requests = 5;
        });
        policy.enforcement = enforcement;
    };
    let (mut refused, mut steps) = (0, 0);
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let mut days = [
            Day::with(|policy| script(policy, Enforcement::Enforce)).await,
            Day::with(|policy| script(policy, Enforcement::Observe)).await,
        ];
        let mut held = [Vec::new(), Vec::new()];
        for _ in 0..150 {
            steps += 1;
            if !step(&mut dice, &mut days, &mut held).await {
                break;
            }
        }
        for key in ["a", "b", "c"] {
            let [enforced, observed] = [days[0].stands(key).await, days[1].stands(key).await];
            let counted =
                |s: &crate::domain::standing::Standing| (s.version, s.state, s.until, s.strikes, s.bans);
            assert_eq!(counted(&enforced), counted(&observed), "seed {seed}, key {key}");
            refused += u32::from(enforced.bans > 0);
        }
        days[1].switch(Enforcement::Enforce).await;
        for key in ["a", "b", "c"] {
            let standing = days[1].stands(key).await;
            let decision = days[1].ask(json!({"key_id": key, "tokens_used": 0})).await;
            let by_person = standing.origin == Origin::Operator && standing.is_banned_at(days[1].now);
            let banned = decision.reason == Some(Reason::ApiKeyBanned);
            assert_eq!(banned, by_person, "seed {seed}, key {key}: {standing:?}");
        }
    }
    assert!(refused > 5 && steps > 1_000, "the scripts lead to bans: {refused} in {steps} steps");
}

#[tokio::test]
async fn answers_are_kept_for_as_long_as_a_retry_gets_them_and_no_longer() {
    let mut day = Day::set_up(|_| {}).await;
    for n in 0..5 {
        day.ask(json!({"request_id": format!("r-{n}")})).await;
    }
    day.now += crate::domain::record::RETRY_SPAN - 1;
    day.engine.decider.forget_old_answers(day.now);
    assert_eq!(day.engine.decider.answers_kept(), 5);
    day.engine.decider.forget_old_answers(day.now + 1);
    assert_eq!(day.engine.decider.answers_kept(), 0);
}
