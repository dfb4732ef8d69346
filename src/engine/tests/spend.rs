//! What keys spend, hour by hour on two instances: who is reported, and who is cut off.

mod minutes;

use super::*;
use crate::{
    domain::{
        actor::Actor,
        enforcement::Enforcement,
        finding::{Mode, Severity},
        spend::{CheckInterval, Rules},
        standing::{Origin, StandingState},
        usage::{Totals, UsageBatch, UsageDelta, UsageKey},
    },
    engine::Base,
};

/// Midnight of Monday 2026-03-02.
const TODAY: Millis = NOW - 9 * HOUR;

struct Books {
    day: Day,
    second: Arc<Engine>,
    batches: u64,
}

impl Books {
    async fn open(change: impl FnOnce(&mut Rules)) -> Self {
        Self::open_as(Preset::Balanced, true, change).await
    }

    async fn open_as(preset: Preset, has_emergency_hook: bool, change: impl FnOnce(&mut Rules)) -> Self {
        let day = Day::with(|_| ()).await;
        let config: crate::config::Config = toml::from_str(DEFAULT_TOML).unwrap();
        let mut rules = config.spend.rules().unwrap();
        rules.interval = CheckInterval::HOUR;
        change(&mut rules);
        let policy = Policy { preset, limits: Default::default(), ..default_policy() };
        let base = Base { spend: Some(rules), has_emergency_hook, ..Base::from(policy) };
        let start = || {
            let (store, geo) = (day.engine.shared.store.clone(), day.engine.geo.clone());
            Engine::start(store, geo, base.clone(), day.engine.options.clone())
        };
        let (first, second) = (start().await.unwrap(), start().await.unwrap());
        Self { day: Day { engine: first, ..day }, second, batches: 0 }
    }

    /// Books what was used in the hours that begin at these times.
    async fn book(&mut self, key: &str, dollars: impl IntoIterator<Item = (Millis, f64)>) {
        let totals = |dollars: f64| Totals {
            requests: 1,
            tokens: (dollars * 1000.0) as u64,
            cost_nanos: (dollars * 1e9) as u64,
            ..Totals::default()
        };
        let deltas = dollars.into_iter().map(|(hour, dollars)| UsageDelta {
            minute: hour + 30 * MINUTE,
            key: UsageKey { key: Some(key.into()), ..UsageKey::default() },
            measured: totals(dollars).into(),
        });
        self.batches += 1;
        let (seq, now) = (self.batches, TODAY);
        let batch = UsageBatch { instance: "books".into(), seq, now, deltas: deltas.collect() };
        self.day.engine.shared.store.add_usage(&batch).await.unwrap();
    }

    /// Two weeks of a hundred dollars a day.
    async fn usual(&mut self, key: &str) {
        self.book(key, (1..=14).map(|days| (TODAY - days * DAY + 10 * HOUR, 100.0))).await;
    }

    /// Both instances look at the full hour, a few times.
    async fn check(&mut self, hour: Millis) {
        self.day.now = TODAY + hour * HOUR + 12 * SECOND;
        for engine in [&self.second, &self.day.engine, &self.second] {
            engine.upkeep.spend.watch(self.day.now).await.unwrap();
        }
    }

    /// Uses so much in each hour from `first` on, with the check after it.
    async fn hours(&mut self, key: &str, first: Millis, dollars: &[f64]) {
        for (hour, dollars) in (first..).zip(dollars) {
            if *dollars > 0.0 {
                self.book(key, [(TODAY + hour * HOUR, *dollars)]).await;
            }
            self.check(hour + 1).await;
        }
    }

    async fn logged(&self, kind: EventType) -> Vec<Event> {
        let mut events = self.day.events(kind).await;
        events.reverse();
        events
    }

    /// The hours after which keys were cut off.
    async fn cut_off_at(&self) -> Vec<Millis> {
        self.logged(EventType::KeyCutOff).await.iter().map(|event| (event.time - TODAY) / HOUR).collect()
    }
}

#[tokio::test]
async fn each_level_is_logged_once_and_a_key_that_stays_critical_is_cut_off_once() {
    let mut books = Books::open(|_| ()).await;
    books.usual("a").await;
    books.hours("a", 0, &[160.0, 140.0, 50.0, 20.0, 20.0, 20.0, 20.0]).await;
    let logged = books.logged(EventType::SpendAnomaly).await;
    let levels: Vec<_> = logged.iter().map(|event| ((event.time - TODAY) / HOUR, event.severity)).collect();
    assert_eq!(levels, [(1, Severity::Medium), (3, Severity::Critical)]);
    let summary =
        "Spent $350 on 2026-03-02, usually $100 a day: z 25 (limit 2.5) and times_mean 3.5 (limit 3).";
    let evidence = &logged[1].evidence;
    assert_eq!(evidence["summary"], summary);
    assert_eq!(
        [&evidence["observed"], &evidence["baseline"], &evidence["threshold"], &evidence["samples"]],
        [&json!("350"), &json!("100"), &json!("300"), &json!(7)]
    );
    let cut = books.logged(EventType::KeyCutOff).await;
    assert_eq!(books.cut_off_at().await, [5]);
    assert_eq!((cut[0].severity, cut[0].action.as_deref()), (Severity::Critical, Some("permanent_ban")));
    let held: Vec<_> = cut[0].evidence["checks"].as_array().unwrap().iter().map(|c| &c["observed"]).collect();
    assert_eq!(held, [&json!("390"), &json!("370"), &json!("350")]);
    assert_eq!(cut[0].subject, Some(Subject::key("a")));
    assert!(cut[0].policy_version.is_some());
    assert_eq!(books.logged(EventType::PermanentBan).await.len(), 1);
    let record = books.day.engine.store().standing(&Subject::key("a")).await.unwrap().unwrap();
    assert_eq!(record.standing.state, StandingState::PermanentlyBanned);
    assert_eq!(
        (record.standing.origin, record.detail.detector.as_deref()),
        (Origin::Detector, Some("spend"))
    );
    let refused = books.day.ask(json!({})).await;
    assert_eq!(refused.reason, Some(Reason::ApiKeyBanned));
    assert!(books.day.ask(json!({"key_id": "b"})).await.allowed);
}

#[tokio::test]
async fn a_cut_off_that_is_only_observed_refuses_nobody_and_comes_again_when_the_policy_enforces() {
    let mut books = Books::open(|_| ()).await;
    let policy = |enforcement| Policy { limits: Default::default(), enforcement, ..default_policy() };
    let by = Actor::local();
    books.day.engine.policy_changes().set_policy(&policy(Enforcement::Observe), &by, TODAY).await.unwrap();
    books.second.in_force.refresh().await.unwrap();
    books.usual("a").await;
    books.hours("a", 0, &[350.0, 20.0, 20.0, 20.0]).await;
    let cut = books.logged(EventType::KeyCutOff).await;
    assert_eq!((cut.len(), cut[0].action.as_deref()), (1, Some("none")));
    assert_eq!(cut[0].would.map(|would| would.action), Some(Action::PermanentBan));
    let banned = books.logged(EventType::PermanentBan).await;
    assert!(banned.len() == 1 && banned[0].would.is_some());
    let observed = books.day.ask(json!({})).await;
    assert!(observed.allowed && observed.ruling().reason == Some(Reason::ApiKeyBanned), "{observed:?}");
    books
        .day
        .engine
        .policy_changes()
        .set_policy(&policy(Enforcement::Enforce), &by, books.day.now)
        .await
        .unwrap();
    books.second.in_force.refresh().await.unwrap();
    assert!(books.day.ask(json!({})).await.allowed);
    books.hours("a", 4, &[20.0]).await;
    assert!(!books.day.ask(json!({})).await.allowed);
    assert_eq!(books.logged(EventType::KeyCutOff).await.len(), 2);
}

#[tokio::test]
async fn a_cut_off_that_is_only_observed_takes_the_place_of_no_ban_of_an_operator() {
    let mut books = Books::open(|_| ()).await;
    let policy = |enforcement| Policy { limits: Default::default(), enforcement, ..default_policy() };
    let (by, key) = (Actor::local(), Subject::key("a"));
    books.day.engine.policy_changes().set_policy(&policy(Enforcement::Observe), &by, TODAY).await.unwrap();
    books.second.in_force.refresh().await.unwrap();
    books.day.engine.bans().ban(&key, Some(DAY), "leaked", &by, TODAY).await.unwrap();
    books.usual("a").await;
    books.hours("a", 0, &[350.0, 20.0, 20.0, 20.0]).await;
    books
        .day
        .engine
        .policy_changes()
        .set_policy(&policy(Enforcement::Enforce), &by, books.day.now)
        .await
        .unwrap();
    assert_eq!(books.day.ask(json!({})).await.action, Action::TemporaryBan);
}

#[tokio::test]
async fn a_weekly_batch_a_growing_key_and_little_money_are_never_cut_off() {
    let mut books = Books::open(|_| ()).await;
    let batch = |hour: Millis| match hour.rem_euclid(7 * 24) {
        hour @ 0..6 => 150.0 + hour as f64,
        _ => 1.0,
    };
    let growing = |hour: Millis| 10.0 * 1.1_f64.powi(i32::try_from(hour.div_euclid(24)).unwrap());
    let little = |hour: Millis| if hour < 0 { 0.05 } else { 2.0 };
    let young = |hour: Millis| if hour < -48 { 0.0 } else { 20.0 };
    let keys: [(&str, &dyn Fn(Millis) -> f64); 4] =
        [("batch", &batch), ("growing", &growing), ("little", &little), ("young", &young)];
    for (key, of) in keys {
        let hours = (-14 * 24..0).map(|hour| (TODAY + hour * HOUR, of(hour)));
        let used: Vec<_> = hours.filter(|(_, dollars)| *dollars > 0.0).collect();
        books.book(key, used).await;
    }
    for hour in 0..8 * 24 {
        for (key, of) in keys {
            books.book(key, [(TODAY + hour * HOUR, of(hour))]).await;
        }
        books.check(hour + 1).await;
    }
    assert_eq!(books.logged(EventType::SpendAnomaly).await, []);
    assert_eq!(books.cut_off_at().await, [0; 0]);
}

#[tokio::test]
async fn a_key_that_has_stopped_is_cut_off_when_it_goes_on() {
    let mut books = Books::open(|_| ()).await;
    books.usual("a").await;
    books.hours("a", 0, &[900.0, 0.0, 0.0, 0.0, 0.0, 1.0]).await;
    assert_eq!(books.cut_off_at().await, [6]);
}

#[tokio::test]
async fn a_night_across_midnight_is_one_row_of_checks() {
    let mut books = Books::open(|_| ()).await;
    books.usual("a").await;
    books.hours("a", 22, &[400.0, 10.0, 400.0]).await;
    assert_eq!(books.cut_off_at().await, [25]);
    let logged = books.logged(EventType::SpendAnomaly).await;
    let days: Vec<_> = logged.iter().map(|event| event.evidence["day"].as_str().unwrap()).collect();
    assert_eq!(days, ["2026-03-02T00:00:00.000Z", "2026-03-03T00:00:00.000Z"]);
}

#[tokio::test]
async fn a_key_whose_records_come_late_and_all_at_once_is_warned_of_before_it_is_cut_off() {
    let mut books = Books::open(|_| ()).await;
    books.usual("a").await;
    books.hours("a", 0, &[1.0, 1.0, 1.0]).await;
    // Of yesterday and of this morning: critical at each of the checks, had they been in time.
    books
        .book("a", [(TODAY - HOUR, 900.0), (TODAY, 900.0), (TODAY + HOUR, 100.0), (TODAY + 3 * HOUR, 1.0)])
        .await;
    books.check(4).await;
    books.day.now += 5 * MINUTE;
    books.second.upkeep.spend.watch(books.day.now).await.unwrap();
    let logged = books.logged(EventType::SpendAnomaly).await;
    assert_eq!(logged.iter().map(|event| event.severity).collect::<Vec<_>>(), [Severity::Critical; 2]);
    assert_eq!(books.cut_off_at().await, [0; 0]);
    books.hours("a", 4, &[1.0]).await;
    assert_eq!(books.cut_off_at().await, [5]);
}

#[tokio::test]
async fn a_warning_of_another_day_is_none_of_this_one() {
    let mut books = Books::open(|_| ()).await;
    books.usual("a").await;
    books.book("a", [(TODAY - HOUR, 900.0)]).await;
    books.hours("a", 0, &[1.0, 1.0, 1.0, 1.0]).await;
    assert_eq!(books.logged(EventType::SpendAnomaly).await.len(), 1);
    books.book("a", [(TODAY, 2_000.0)]).await;
    books.hours("a", 4, &[1.0]).await;
    assert_eq!(books.cut_off_at().await, [0; 0]);
    books.hours("a", 5, &[1.0]).await;
    assert_eq!(books.cut_off_at().await, [6]);
}

#[tokio::test]
async fn a_persons_word_holds_for_the_day() {
    let mut books = Books::open(|_| ()).await;
    books.usual("a").await;
    books.hours("a", 0, &[400.0, 10.0, 10.0]).await;
    assert_eq!(books.cut_off_at().await, [3]);
    let (subject, now) = (Subject::key("a"), books.day.now);
    books.day.engine.bans().lift(&subject, "a launch", &Actor::local(), now).await.unwrap().unwrap();
    let mut on = vec![10.0; 21];
    on.extend([400.0, 10.0, 10.0, 10.0]);
    books.hours("a", 3, &on).await;
    assert_eq!(books.cut_off_at().await, [3, 27], "three checks of the next day");
}

#[tokio::test]
async fn a_benign_verdict_on_the_anomaly_keeps_the_key() {
    let mut books = Books::open(|_| ()).await;
    books.usual("a").await;
    books.hours("a", 0, &[400.0]).await;
    let logged = books.logged(EventType::SpendAnomaly).await;
    let now = books.day.now;
    books
        .day
        .engine
        .feedback()
        .give(&logged[0].id, Verdict::Benign, "a launch", &Actor::local(), now)
        .await
        .unwrap();
    books.hours("a", 1, &[10.0; 6]).await;
    assert_eq!(books.cut_off_at().await, [0; 0]);
}

#[tokio::test]
async fn what_is_only_loud_is_kept_in_balanced_unless_a_hook_asks_for_it() {
    for (preset, hook, cut) in
        [(Preset::Balanced, false, false), (Preset::Balanced, true, true), (Preset::Strict, false, true)]
    {
        let mut books = Books::open_as(preset, hook, |_| ()).await;
        books.usual("a").await;
        books.hours("a", 0, &[400.0, 10.0, 10.0, 10.0]).await;
        let logged = books.logged(EventType::KeyCutOff).await;
        assert_eq!(logged.len(), 1, "{preset:?} {hook}");
        assert_eq!(logged[0].evidence["not_cut_off"].is_null(), cut, "{preset:?} {hook}");
        assert_eq!(books.day.ask(json!({})).await.allowed, !cut, "{preset:?} {hook}");
    }
}

#[tokio::test]
async fn in_shadow_mode_it_is_said_once_and_nobody_is_banned() {
    let mut books = Books::open(|rules| rules.mode = Mode::Shadow).await;
    books.usual("a").await;
    books.hours("a", 0, &[400.0, 10.0, 10.0, 10.0, 10.0]).await;
    let cut = books.logged(EventType::KeyCutOff).await;
    assert_eq!(cut.len(), 1);
    assert_eq!(
        (cut[0].action.as_deref(), &cut[0].evidence["not_cut_off"]),
        (Some("shadow"), &json!("shadow"))
    );
    assert!(books.day.ask(json!({})).await.allowed);
}

#[tokio::test]
async fn allowed_keys_are_logged_and_kept_and_nobody_is_cut_off_after_0_checks() {
    let mut books = Books::open(|_| ()).await;
    let now = books.day.now;
    books
        .day
        .engine
        .policy_changes()
        .write_allowlist("key:a", json!({"reason": "ours"}), &Actor::local(), now)
        .await
        .unwrap();
    books.second.in_force.refresh_if_changed().await.unwrap();
    books.usual("a").await;
    books.hours("a", 0, &[400.0, 10.0, 10.0, 10.0]).await;
    assert_eq!(books.logged(EventType::SpendAnomaly).await.len(), 1);
    assert_eq!(books.cut_off_at().await, [0; 0]);
    let mut books = Books::open(|rules| rules.cut_off_after = 0).await;
    books.usual("a").await;
    books.hours("a", 0, &[400.0, 10.0, 10.0, 10.0]).await;
    assert_eq!(books.cut_off_at().await, [0; 0]);
}

#[tokio::test]
async fn so_many_keys_at_once_have_a_common_cause() {
    let mut books = Books::open(|_| ()).await;
    let keys: Vec<String> = (0..11).map(|n| format!("k{n}")).collect();
    for key in &keys {
        books.usual(key).await;
    }
    for hour in 0..3 {
        for key in &keys {
            books.book(key, [(TODAY + hour * HOUR, 400.0)]).await;
        }
        books.check(hour + 1).await;
    }
    let cut = books.logged(EventType::KeyCutOff).await;
    assert_eq!(cut.len(), 11);
    assert!(cut.iter().all(|event| event.action.as_deref() == Some("shadow")));
    assert_eq!(books.logged(EventType::PermanentBan).await, []);
}

#[tokio::test]
async fn what_comes_late_for_yesterday_is_logged_and_nothing_is_logged_twice() {
    let mut books = Books::open(|_| ()).await;
    books.usual("a").await;
    books.hours("a", 0, &[1.0]).await;
    books.book("a", [(TODAY - 3 * HOUR, 500.0)]).await;
    books.check(2).await;
    books.check(3).await;
    let logged = books.logged(EventType::SpendAnomaly).await;
    assert_eq!(logged.len(), 1);
    assert_eq!(logged[0].evidence["day"], "2026-03-01T00:00:00.000Z");
    // An instance that starts later makes the last check again, and says nothing twice.
    books.day.now += 5 * MINUTE;
    let base = Base::clone(&books.second.in_force.base());
    let (store, geo) = (books.day.engine.shared.store.clone(), books.day.engine.geo.clone());
    let third = Engine::start(store, geo, base, books.day.engine.options.clone()).await.unwrap();
    third.upkeep.spend.watch(books.day.now).await.unwrap();
    assert_eq!(books.logged(EventType::SpendAnomaly).await.len(), 1);
}

#[tokio::test]
async fn what_came_since_the_full_hour_belongs_to_the_next_check() {
    let mut books = Books::open(|_| ()).await;
    books.usual("a").await;
    books.book("a", [(TODAY, 90.0), (TODAY + HOUR, 500.0)]).await;
    books.check(1).await;
    assert_eq!(books.logged(EventType::SpendAnomaly).await, []);
    books.check(2).await;
    assert_eq!(books.logged(EventType::SpendAnomaly).await.len(), 1);
}
