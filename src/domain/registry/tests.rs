//! Which limits apply, to whom, up to how much; and whom a key's entry keeps out.

mod bodies;

use super::*;
use crate::domain::{model::ModelIdentity, window::Unit};

const NOW: Millis = 1_772_442_802_123;

fn record(key_id: &str, project: Option<&str>, model: Option<&str>) -> Record {
    Record {
        request_id: "r".into(),
        request_id_given: false,
        key_id: key_id.into(),
        key: Subject::key(key_id),
        former_keys: Vec::new(),
        address: Subject::ip([203, 0, 113, 7].into()),
        project: project.map(Subject::project),
        endpoint: "/v1".into(),
        user: None,
        model: model.map(Into::into),
        model_identity: None,
        tokens: 30,
        prompt_tokens: Some(20),
        completion_tokens: None,
        cached_tokens: None,
        cost_nanos: Some(7),
        price_fallback: false,
        latency_ms: None,
        source_ip: [203, 0, 113, 7].into(),
        user_agent: None,
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
    }
}

fn plan(json: &str) -> Plan {
    serde_json::from_str::<Plan>(json).unwrap().checked().unwrap()
}

fn project(json: &str) -> Project {
    serde_json::from_str::<Project>(json).unwrap().checked().unwrap()
}

fn key(json: &str) -> KeyEntry {
    serde_json::from_str::<KeyEntry>(json).unwrap().checked().unwrap()
}

fn stored(entries: Vec<(&str, Entry)>) -> Registry {
    let entries = entries.into_iter().map(|(name, entry)| (name.to_owned(), entry, NOW));
    Registry::new(Arc::default(), entries)
}

/// What applies, as `scope unit span most`.
fn applied(registry: &Registry, record: &Record) -> Vec<String> {
    let terms = registry.terms(record, || None, NOW);
    let told = terms.limits.iter().map(|applied| {
        let limit = &applied.rule.limit;
        format!("{} {} {} {}", applied.counter.scope.as_str(), limit.unit.name(), limit.span, applied.most)
    });
    told.collect()
}

fn requests(most: u64) -> String {
    format!(r#"{{"limits":[{{"unit":"requests","window":"1min","limit":{most}}}]}}"#)
}

fn with_one(registry: &Registry, name: &str, entry: Entry) -> Registry {
    registry.after([(name, Change::Put(entry, NOW))])
}

#[test]
fn an_empty_registry_says_nothing_and_a_plan_that_nobody_has_concerns_nobody() {
    let registry = Registry::default();
    assert!(with_one(&registry, "free", Entry::Plan(plan(&requests(1)))).is_idle());
    let terms = registry.terms(&record("a", Some("p"), None), || panic!("nobody asks where"), NOW);
    assert!(terms.limits.is_empty() && terms.refusal.is_none() && terms.project.is_none());
}

#[test]
fn a_key_has_its_own_plan_else_its_projects_else_the_default_one() {
    let configured = Configured {
        plans: [("base".to_owned(), plan(&requests(1)))].into(),
        default_plan: "base".to_owned(),
        ..Configured::default()
    };
    let entries = [
        ("team", Entry::Plan(plan(&requests(2)))),
        ("own", Entry::Plan(plan(&requests(3)))),
        ("p", Entry::Project(project(r#"{"plan":"team"}"#))),
        ("a", Entry::Key(key(r#"{"project":"p","plan":"own"}"#))),
        ("b", Entry::Key(key(r#"{"project":"p"}"#))),
        ("c", Entry::Key(key(r#"{"plan":"gone"}"#))),
    ];
    let entries = entries.into_iter().map(|(name, entry)| (name.to_owned(), entry, NOW));
    let registry = Registry::new(Arc::new(configured), entries);
    for (id, project, most) in [
        ("a", None, 3),
        ("b", None, 2),
        ("c", None, 1),
        ("x", None, 1),
        ("x", Some("p"), 2),
        ("x", Some("q"), 1),
    ] {
        let expected = format!("key:{id} requests 1min {most}");
        assert_eq!(applied(&registry, &record(id, project, None)), [expected], "{id} {project:?}");
    }
}

#[test]
fn the_registered_project_wins_and_another_one_is_a_mismatch() {
    let registry = stored(vec![
        ("p", Entry::Project(project(&requests(5)))),
        ("a", Entry::Key(key(r#"{"project":"p"}"#))),
    ]);
    let terms = |named: Option<&str>| registry.terms(&record("a", named, None), || None, NOW);
    assert_eq!(terms(Some("q")).project, Some(Subject::project("p")));
    assert_eq!(
        [terms(Some("q")).mismatch, terms(Some("p")).mismatch, terms(None).mismatch],
        [true, false, false]
    );
    assert_eq!(applied(&registry, &record("a", Some("q"), None)), ["project:p requests 1min 5"]);
    let mut moved = record("new", None, None);
    moved.former_keys = vec![Subject::key("a")];
    assert_eq!(
        registry.terms(&moved, || None, NOW).project,
        Some(Subject::project("p")),
        "under an older pepper"
    );
}

#[test]
fn a_limit_for_a_model_applies_to_what_fits_and_a_budget_is_a_limit_by_the_projects_calendar() {
    let body = r#"{"limits":[{"unit":"tokens","window":"60s","limit":"10","model":"claude-*"}],
        "budget_usd":12.50,"timezone":"Asia/Tokyo"}"#;
    let registry = stored(vec![("p", Entry::Project(project(body)))]);
    let budget = "project:p cost_usd month 12500000000".to_owned();
    let tokens = "project:p tokens 1min 10".to_owned();
    let of = |model: Option<&str>| applied(&registry, &record("a", Some("p"), model));
    assert_eq!(of(Some("claude-3")), [tokens, budget.clone()]);
    assert_eq!(of(Some("gpt-4")), std::slice::from_ref(&budget));
    assert_eq!(of(None), [budget]);
    let terms = registry.terms(&record("a", Some("p"), None), || None, NOW);
    let charge = terms.limits[0].charge(&record("a", Some("p"), None), NOW);
    assert_eq!((charge.amount, charge.most), (7, 12_500_000_000));
    assert_eq!(crate::domain::event::format_millis(charge.until), "2026-03-31T15:00:00.000Z");
    let split = record("a", None, None);
    assert_eq!([amount(&split, Unit::InputTokens), amount(&split, Unit::OutputTokens)], [20, 10]);
}

#[test]
fn a_limit_and_an_allowed_model_mean_the_model_by_whatever_name_it_is_called() {
    let body = r#"{"limits":[{"unit":"tokens","window":"day","limit":10,"model":"gpt-4.1"},
        {"unit":"tokens","window":"day","limit":10,"model":"swift"}]}"#;
    let key: KeyEntry = serde_json::from_str(r#"{"allowed_models":["openai/gpt-4.1"]}"#).unwrap();
    let key = Entry::Key(key.checked().unwrap());
    let registry = stored(vec![("p", Entry::Project(project(body))), ("picky", key)]);
    let identity = Arc::new(ModelIdentity { name: "gpt-4.1".into(), aliases: ["swift".into()].into() });
    let called = |model: &str, identity: Option<&Arc<ModelIdentity>>| {
        let record = Record { model_identity: identity.cloned(), ..record("picky", Some("p"), Some(model)) };
        let terms = registry.terms(&record, || None, NOW);
        (terms.refusal, terms.limits.len())
    };
    for model in ["gpt-4.1", "gpt-4.1-2025-04-14", "azure/eu/gpt-4.1"] {
        assert_eq!(called(model, None), (None, 1), "{model}, that no list knows");
        assert_eq!(called(model, Some(&identity)), (None, 2), "{model}");
    }
    assert_eq!(called("swift", Some(&identity)), (None, 2));
    for model in ["gpt-4.1-mini", "gpt-4", "openai/gpt-4.1-mini-2025-04-14"] {
        assert_eq!(called(model, None).0, Some(NotAllowed::Model), "{model}");
    }
}

#[test]
fn a_priority_is_a_share_and_nobody_is_cut_where_nobody_has_one() {
    let configured = Arc::new(Configured {
        limits: plan(&requests(15)).limits,
        shares: Shares { low: 500, medium: 900 },
        ..Configured::default()
    });
    let with = |priority: &str| project(&requests(7).replace("{\"limits", &format!("{{{priority}\"limits")));
    let plain = Registry::new(configured, [("p".to_owned(), Entry::Project(with("")), NOW)]);
    let of = |registry: &Registry, id: &str| applied(registry, &record("a", Some(id), None));
    assert_eq!(of(&plain, "p"), ["project:p requests 1min 7", "everything requests 1min 15"]);
    let low = with_one(&plain, "low", Entry::Project(with(r#""priority":"low","#)));
    assert_eq!(
        of(&low, "low"),
        ["project:low requests 1min 3", "everything requests 1min 7"],
        "rounded down"
    );
    assert_eq!(of(&low, "p"), ["project:p requests 1min 7", "everything requests 1min 13"]);
    assert_eq!(of(&low, "unheard"), ["everything requests 1min 13"]);
    let high = with_one(&low, "high", Entry::Project(with(r#""priority":"high","#)));
    assert_eq!(of(&high, "high"), ["project:high requests 1min 7", "everything requests 1min 15"]);
}

#[test]
fn a_key_is_kept_to_its_networks_countries_models_and_time() {
    let entry =
        key(r#"{"allowed_networks":["203.0.113.9/24"],"allowed_countries":["sg"],"allowed_models":["gpt-*"],
        "expires":"2026-03-02T10:13:22.124+01:00"}"#);
    let registry = stored(vec![("a", Entry::Key(entry))]);
    let refusal = |record: &Record, country: Option<&[u8; 2]>, now| {
        registry.terms(record, || country.copied(), now).refusal
    };
    let good = record("a", None, Some("gpt-4"));
    assert_eq!(refusal(&good, Some(b"SG"), NOW), None);
    assert_eq!(refusal(&record("a", None, None), Some(b"SG"), NOW), None, "no model is called");
    assert_eq!(refusal(&good, Some(b"SG"), NOW + 1), Some(NotAllowed::Expired));
    assert_eq!(refusal(&good, Some(b"RO"), NOW), Some(NotAllowed::Country));
    assert_eq!(refusal(&good, None, NOW), Some(NotAllowed::Country), "nobody knows from where");
    assert_eq!(refusal(&record("a", None, Some("o3")), Some(b"SG"), NOW), Some(NotAllowed::Model));
    let elsewhere = Record { source_ip: [198, 51, 100, 7].into(), ..good };
    assert_eq!(refusal(&elsewhere, Some(b"SG"), NOW), Some(NotAllowed::Network));
    assert_eq!(refusal(&record("b", None, None), None, NOW), None, "others are not concerned");
}

#[test]
fn unknown_keys_are_refused_where_the_configuration_says_so() {
    let configured = Configured { unknown_keys: UnknownKeys::Refuse, ..Configured::default() };
    let registry =
        Registry::new(Arc::new(configured), [("a".to_owned(), Entry::Key(KeyEntry::default()), NOW)]);
    let refusal = |id: &str| registry.terms(&record(id, None, None), || None, NOW).refusal;
    assert_eq!((refusal("a"), refusal("b")), (None, Some(NotAllowed::UnknownKey)));
    let gone = registry.after([("a", Change::NoKey)]);
    assert_eq!(gone.terms(&record("a", None, None), || None, NOW).refusal, Some(NotAllowed::UnknownKey));
}

#[test]
fn the_default_project_is_of_keys_that_nobody_registered_and_records_that_name_none() {
    let configured = Configured {
        projects: [("rest".to_owned(), project(&requests(7)))].into(),
        default_project: "rest".to_owned(),
        ..Configured::default()
    };
    let entries = [
        ("p", Entry::Project(project(&requests(5)))),
        ("theirs", Entry::Key(key(r#"{"project":"p"}"#))),
        ("loose", Entry::Key(KeyEntry::default())),
    ];
    let entries = entries.into_iter().map(|(name, entry)| (name.to_owned(), entry, NOW));
    let registry = Registry::new(Arc::new(configured), entries);
    for (id, named, project, limits) in [
        ("new", None, Some("rest"), &["project:rest requests 1min 7"][..]),
        ("new", Some("p"), None, &["project:p requests 1min 5"]),
        ("new", Some("unheard"), None, &[]),
        ("theirs", None, Some("p"), &["project:p requests 1min 5"]),
        ("loose", None, None, &[]),
    ] {
        let record = record(id, named, None);
        let terms = registry.terms(&record, || None, NOW);
        assert_eq!((terms.project, terms.mismatch), (project.map(Subject::project), false), "{id} {named:?}");
        assert_eq!(applied(&registry, &record), limits, "{id} {named:?}");
    }
}

#[test]
fn what_is_stored_takes_the_place_of_what_is_configured_until_it_is_deleted() {
    let configured = Configured {
        plans: [("base".to_owned(), plan(&requests(1)))].into(),
        projects: [("p".to_owned(), project(&requests(2)))].into(),
        default_plan: "base".to_owned(),
        ..Configured::default()
    };
    let registry = Registry::new(Arc::new(configured), []);
    let of = |registry: &Registry| applied(registry, &record("a", Some("p"), None));
    let before = of(&registry);
    assert_eq!(before, ["key:a requests 1min 1", "project:p requests 1min 2"]);
    let next = registry.after([
        ("base", Change::Put(Entry::Plan(plan(&requests(3))), NOW)),
        ("p", Change::Put(Entry::Project(project(&requests(4))), NOW)),
    ]);
    assert_eq!(of(&next), ["key:a requests 1min 3", "project:p requests 1min 4"]);
    assert_eq!(next.plans()["base"].updated, Some(NOW));
    assert_eq!(of(&next.after([("base", Change::NoPlan), ("p", Change::NoProject)])), before);
    assert_eq!(registry.users_of_plan("base", 9), ["default_plan"]);
}

#[test]
fn a_key_changes_at_the_cost_of_a_few() {
    let keys = (0..5_000).map(|n| {
        (format!("k{n}"), Entry::Key(KeyEntry { label: Some(n.to_string()), ..KeyEntry::default() }), NOW)
    });
    let registry = Registry::new(Arc::default(), keys);
    assert_eq!(registry.keys().count(), 5_000);
    let put = Change::Put(Entry::Key(KeyEntry::default()), NOW + 1);
    let next = registry.after([("k7", put), ("k8", Change::NoKey), ("none", Change::NoKey)]);
    let same = |id: &str| Arc::ptr_eq(&registry.key(id).unwrap().body, &next.key(id).unwrap().body);
    assert!((9..5_000).all(|n| same(&format!("k{n}"))), "the others are not made anew");
    assert_eq!((next.keys().count(), next.key("k7").unwrap().updated), (4_999, Some(NOW + 1)));
    assert_eq!(registry.key("k8").unwrap().body.label.as_deref(), Some("8"), "the former one is as it was");
    assert!(next.terms(&record("k7", None, None), || None, NOW).limits.is_empty());
}
