//! Plans, projects and keys at work, by injected time.

use super::*;
use crate::{
    domain::{
        actor::Actor,
        registry::{Configured, Entry, KeyEntry, Plan, Project, UnknownKeys},
    },
    engine::Base,
};

fn key(body: serde_json::Value) -> Entry {
    Entry::Key(serde_json::from_value::<KeyEntry>(body).unwrap().checked().unwrap())
}

impl Day {
    async fn put(&self, name: &str, entry: Entry) {
        self.engine.registry_changes().put(name, &entry, &Actor::local(), self.now).await.unwrap();
    }

    /// An engine over the same store, with another configuration.
    pub(super) async fn configured(registry: Configured) -> Self {
        let day = Self::with(|_| ()).await;
        let base = Base {
            policy: default_policy(),
            registry: Arc::new(registry),
            alerts: Vec::new(),
            spend: None,
            has_emergency_hook: false,
        };
        let options = day.engine.options.clone();
        let engine = Engine::start(day.engine.shared.store.clone(), day.engine.geo.clone(), base, options)
            .await
            .unwrap();
        Self { engine, ..day }
    }

    async fn refusal(&mut self, fields: serde_json::Value) -> Option<Reason> {
        let decision = self.ask(fields).await;
        assert_eq!((decision.allowed, decision.action), (decision.reason.is_none(), Action::None));
        decision.reason
    }
}

#[tokio::test]
async fn a_key_is_refused_outside_of_its_countries_models_and_time_and_learns_nothing_from_it() {
    let mut day = Day::with(|_| ()).await;
    let body = json!({
        "allowed_countries": ["SG"], "allowed_models": ["gpt-*"], "expires": "2026-03-02T10:00:00Z",
    });
    day.put("a", key(body)).await;
    let refused = Some(Reason::KeyNotAllowed);
    assert_eq!(day.refusal(json!({"model": "gpt-4.1"})).await, None);
    assert_eq!(day.refusal(json!({"source_ip": BUCHAREST})).await, refused);
    assert_eq!(day.refusal(json!({"model": "o3"})).await, refused);
    let check = day.record(json!({"model": "o3"}));
    assert_eq!(day.engine.check(&check, false, day.now).await.reason, refused);
    day.now = NOW + HOUR - 1;
    assert_eq!(day.refusal(json!({})).await, None);
    day.now = NOW + HOUR;
    assert_eq!(day.refusal(json!({})).await, refused);
    assert_eq!(day.used("a").await, 10, "of the last minute one was admitted, and no other is charged");
    let logged = day.events(EventType::KeyNotAllowed).await;
    assert_eq!(logged.iter().map(|event| event.count).sum::<u64>(), 4);
    assert!(logged.iter().all(|event| event.subject == Some(Subject::key("a"))));
    assert!(logged.iter().any(|event| event.evidence["cause"] == "expired"));
    assert!(day.events(EventType::Anomaly(AnomalyKind::ImpossibleTravel)).await.is_empty());
}

#[tokio::test]
async fn unknown_keys_are_refused_and_a_flood_of_them_is_one_event_per_address() {
    let mut day =
        Day::configured(Configured { unknown_keys: UnknownKeys::Refuse, ..Configured::default() }).await;
    day.put("a", key(json!({}))).await;
    assert_eq!(day.refusal(json!({})).await, None);
    for n in 0..50 {
        assert_eq!(day.refusal(json!({"key_id": format!("k{n}")})).await, Some(Reason::UnknownKey));
    }
    let logged = day.events(EventType::UnknownKey).await;
    assert_eq!(logged.iter().map(|event| event.count).collect::<Vec<_>>(), [49, 1]);
    assert_eq!(logged[0].subject.as_ref().unwrap().as_str(), "ip:203.0.113.7");
    assert_eq!(day.engine.store().inspect(&Subject::key("k1"), day.now).await.unwrap(), None);
    let explained = day.engine.explain(&day.record(json!({"key_id": "x"})), day.now).await.unwrap();
    assert_eq!(explained.course, Course::NotAllowed(crate::domain::registry::NotAllowed::UnknownKey));
}

#[tokio::test]
async fn another_project_than_the_registered_one_is_logged_and_not_used() {
    let mut day = Day::with(|_| ()).await;
    day.put("p", Entry::Project(Project::default())).await;
    day.put("a", key(json!({"project": "p"}))).await;
    let (p, q) = (Subject::project("p"), Subject::project("q"));
    day.engine.bans().ban(&q, None, "spent", &Actor::local(), day.now).await.unwrap();
    assert_eq!(day.refusal(json!({"project_id": "q"})).await, None);
    day.engine.bans().ban(&p, None, "spent", &Actor::local(), day.now).await.unwrap();
    let batch =
        [json!({"key_id": "b"}), json!({"project_id": "q"}), json!({})].map(|fields| day.record(fields));
    let decisions = day.engine.record(&batch, day.now).await;
    let reasons: Vec<_> = decisions.iter().map(|decision| decision.reason).collect();
    assert_eq!(reasons, [None, Some(Reason::ProjectBanned), Some(Reason::ProjectBanned)]);
    let logged = day.events(EventType::ProjectMismatch).await;
    assert_eq!(logged.iter().map(|event| event.count).sum::<u64>(), 2);
    assert_eq!(*logged[0].evidence, json!({"registered": "p", "reported": "q"}));
}

#[tokio::test]
async fn limits_that_apply_go_along_with_the_request() {
    let day = Day::with(|_| ()).await;
    let plan = json!({"limits": [{"unit": "requests", "window": "day", "limit": 5}]});
    let plan: Plan = serde_json::from_value(plan).unwrap();
    day.put("free", Entry::Plan(plan.checked().unwrap())).await;
    day.put("a", key(json!({"plan": "free"}))).await;
    let records = [day.record(json!({})), day.record(json!({"key_id": "b"}))];
    let active = day.engine.policy();
    let (placed, terms) = day.engine.decider.terms(&records, &active, day.now);
    let (_, requests) = day.engine.decider.prepare(&placed, terms, &active, day.now);
    let observed = day.engine.decider.observe(requests, &active, day.now).await;
    let limits = observed.iter().map(|observed| observed.known.limits.len());
    assert_eq!(limits.collect::<Vec<_>>(), [1, 0]);
}

#[tokio::test]
async fn a_key_that_takes_the_place_of_another_has_its_terms_and_its_past_and_gets_them_once() {
    let mut day =
        Day::configured(Configured { unknown_keys: UnknownKeys::Refuse, ..Configured::default() }).await;
    day.put("old", key(json!({"project": "shop", "allowed_models": ["gpt-*"]}))).await;
    for _ in 0..5 {
        assert_eq!(day.refusal(json!({"key_id": "old", "model": "gpt-4.1"})).await, None);
        day.now += MINUTE;
    }
    day.engine.decider.profiles.flush(day.engine.store(), day.now).await.unwrap();
    let by = Actor::hook("rotate");
    for new in ["old", "", "sk-ant-0123456789abcdef"] {
        let is_done = day.engine.successions().take_place(("old", new), &by, day.now).await.unwrap();
        assert!(!is_done, "{new}");
    }
    for _ in 0..2 {
        assert!(day.engine.successions().take_place(("old", "new"), &by, day.now).await.unwrap());
    }
    assert_eq!(day.refusal(json!({"key_id": "new", "model": "o3"})).await, Some(Reason::KeyNotAllowed));
    assert_eq!(day.refusal(json!({"key_id": "new", "model": "gpt-4.1"})).await, None);
    let store = &day.engine.shared.store;
    let [old, new] = [Subject::key("old"), Subject::key("new")];
    let (old, new) = (store.profile(&old).await.unwrap(), store.profile(&new).await.unwrap());
    assert_eq!(new.expect("it was passed on"), old.expect("it was learned"));
    let changes = day.events(EventType::PolicyChanged).await;
    assert_eq!(changes.iter().filter(|event| event.evidence["by"] == "hook:rotate").count(), 1);
}
