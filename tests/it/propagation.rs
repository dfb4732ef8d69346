//! What is done on one instance is in force on every other within a second.

use std::{sync::Arc, time::Duration};

use keyward::{
    clock,
    domain::{
        actor::Actor,
        decision::{Action, Reason},
        enforcement::Enforcement,
        finding::Mode,
        policy::Policy,
        registry::{Entry, KeyEntry, Project, Registry},
        subject::Subject,
    },
    engine::{NewToken, TokenChange, is_token},
    store::{
        Document, DocumentKind,
        redis::{RedisOptions, RedisStore},
    },
};
use serde_json::{Value, json};

use crate::{redis_server::Server, support::*};

/// Keys of a large installation.
const MANY: usize = 100_000;

const A_SECOND: Duration = Duration::from_secs(1);

/// The instance answers about the key from its memory alone: Redis is silent meanwhile.
async fn refuses_without_redis(instance: &Instance, server: &Server, key: &str) {
    let _paused = server.pause();
    let started = clock::instant();
    let decision = instance.ask(key).await;
    assert_eq!(decision.reason, Some(Reason::ApiKeyBanned));
    assert!(started.elapsed() < Duration::from_millis(500), "it did not wait for Redis");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_ban_and_its_lifting_reach_the_other_instance_within_a_second() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, policy(), options()).await;
    assert!(other.ask("a").await.allowed);
    let key = Subject::key("a");
    one.ban(&key).await;
    within(A_SECOND, "the ban is known", async || other.holds(&key)).await;
    assert_eq!(other.ask("a").await.reason, Some(Reason::ApiKeyBanned));
    one.engine.bans().lift(&key, "found", &Actor::local(), one.engine.now()).await.unwrap().unwrap();
    within(A_SECOND, "the lifting is known", async || !other.holds(&key)).await;
    assert!(other.ask("a").await.allowed && one.ask("a").await.allowed);
    one.ban(&key).await;
    within(A_SECOND, "the second ban is known", async || other.holds(&key)).await;
    refuses_without_redis(&other, &server, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detectors_ban_reaches_the_other_instance_within_a_second() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, strict(), options()).await;
    assert!(other.ask("a").await.allowed);
    let caught = one.ask_with("a", json!({"source_ip": BUCHAREST})).await;
    assert_eq!(caught.action, Action::TemporaryBan, "the other instance saw it in Singapore: {caught:?}");
    let key = Subject::key("a");
    within(A_SECOND, "the ban is known", async || other.holds(&key)).await;
    refuses_without_redis(&other, &server, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_and_its_revocation_reach_the_other_instance_within_a_second() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, policy(), options()).await;
    let held = || {
        let tokens = other.engine.stored_tokens();
        let tokens = tokens.borrow();
        let held = tokens.iter().filter(|document| is_token(document));
        held.map(|token| (token.name.clone(), token.body["hash"].clone())).collect::<Vec<(String, Value)>>()
    };
    let (hash, scopes) = ("00".repeat(32), ["read".to_owned()]);
    let token = NewToken { id: "alice", hash: &hash, scopes: &scopes, expires: None };
    let changes = one.engine.token_changes();
    let made = changes.put(&token, &Actor::local(), one.engine.now()).await.unwrap();
    assert_eq!(made, TokenChange::Done);
    let expected = [("alice".to_owned(), json!(hash))];
    within(A_SECOND, "the token is known", async || held() == expected).await;
    let again = other.engine.token_changes().put(&token, &Actor::local(), one.engine.now()).await.unwrap();
    assert_eq!(again, TokenChange::Other, "the other instance knows of it");
    let revoke = async || changes.revoke("alice", |_| true, &Actor::local(), one.engine.now()).await.unwrap();
    assert_eq!(revoke().await, TokenChange::Done);
    within(A_SECOND, "its revocation is known", async || held().is_empty()).await;
    assert_eq!(revoke().await, TokenChange::Other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_tokens_that_two_instances_revoke_at_once_one_stays() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, policy(), options()).await;
    let by = Actor::local();
    for round in 0..5 {
        let ids = ["a", "b"].map(|name| format!("{name}{round}"));
        for id in &ids {
            let (hash, scopes) = ("00".repeat(32), ["admin".to_owned()]);
            let token = NewToken { id, hash: &hash, scopes: &scopes, expires: None };
            let made = one.engine.token_changes().put(&token, &by, one.engine.now()).await.unwrap();
            assert_eq!(made, TokenChange::Done);
        }
        let knows = async || other.engine.stored_tokens().borrow().iter().any(|token| token.name == ids[1]);
        within(A_SECOND, "the other instance knows of both", knows).await;
        // Nobody may take the last of the round away.
        let of_round = |others: &[Document]| others.iter().any(|token| ids.contains(&token.name));
        let revoke = async |instance: &Instance, id: &str| {
            instance.engine.token_changes().revoke(id, of_round, &by, one.engine.now()).await.unwrap()
        };
        let [first, second] = &ids;
        let ended = tokio::join!(revoke(&one, first), revoke(&other, second));
        let done = [&ended.0, &ended.1].into_iter().filter(|ended| **ended == TokenChange::Done).count();
        let refused = [&ended.0, &ended.1].contains(&&TokenChange::NotAllowed);
        assert!(done == 1 && refused, "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_is_refused_by_the_store_before_the_news_has_come() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, policy(), options()).await;
    one.ban(&Subject::key("a")).await;
    assert_eq!(other.ask("a").await.reason, Some(Reason::ApiKeyBanned));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_over_which_the_policy_changes_refuse_only_what_is_enforced() {
    let server = Server::start(&[]);
    let watching = Policy { enforcement: Enforcement::Observe, ..strict() };
    let [one, other] = Instance::pair(&server, watching, options()).await;
    assert!(other.ask("a").await.allowed);
    let caught = one.ask_with("a", json!({"source_ip": BUCHAREST})).await;
    assert!(caught.allowed && !caught.ruling().allowed, "{caught:?}");
    let key = Subject::key("a");
    within(A_SECOND, "the ban is known", async || other.holds(&key)).await;
    let theory = other.ask("a").await;
    assert!(theory.allowed && theory.ruling().reason == Some(Reason::ApiKeyBanned), "{theory:?}");
    one.engine.policy_changes().set_policy(&strict(), &Actor::local(), one.engine.now()).await.unwrap();
    assert!(one.ask("a").await.allowed, "what was only observed refuses nobody, in the store either");
    let version = one.engine.policy().version.clone();
    within(A_SECOND, "the policy is in force", async || other.engine.policy().version == version).await;
    let free = other.ask("a").await;
    assert!(free.allowed && free.would.is_none(), "{free:?}");
    one.ban(&key).await;
    within(A_SECOND, "the operator's ban is enforced", async || !other.ask("a").await.allowed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_in_force_on_the_other_instance_within_a_second() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, strict(), options()).await;
    let mut changed = strict();
    changed.limits.tokens = [("1min".to_owned(), 15)].into();
    changed.detectors.impossible_travel.mode = Mode::Off;
    let version =
        one.engine.policy_changes().set_policy(&changed, &Actor::local(), one.engine.now()).await.unwrap();
    within(A_SECOND, "the policy is known", async || other.engine.policy().version == version).await;
    assert!(other.ask("a").await.allowed);
    let refused = other.ask_with("a", json!({"source_ip": BUCHAREST})).await;
    assert_eq!(refused.reason, Some(Reason::RateLimitExceeded));
    assert_eq!(refused.policy_version, version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowlist_entry_and_its_end_are_in_force_on_the_other_instance_within_a_second() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, strict(), options()).await;
    let write = async |body: Value| {
        one.engine
            .policy_changes()
            .write_allowlist("pair:SG~RO", body, &Actor::local(), one.engine.now())
            .await
            .unwrap();
    };
    write(json!({"reason": "two offices"})).await;
    within(A_SECOND, "the entry is known", async || other.engine.allowlist().len() == 1).await;
    other.ask("a").await;
    assert!(other.ask_with("a", json!({"source_ip": BUCHAREST})).await.allowed);
    write(Value::Null).await;
    within(A_SECOND, "its end is known", async || other.engine.allowlist().is_empty()).await;
    other.ask("b").await;
    assert!(!other.ask_with("b", json!({"source_ip": BUCHAREST})).await.allowed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_and_its_key_are_in_force_on_the_other_instance_within_a_second_and_so_is_their_end() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, policy(), options()).await;
    assert!(other.ask("a").await.allowed);
    let now = one.engine.now();
    one.engine
        .registry_changes()
        .put("p", &Entry::Project(Project::default()), &Actor::local(), now)
        .await
        .unwrap();
    let key = json!({"project": "p", "allowed_networks": ["198.51.100.0/24"]});
    let key = serde_json::from_value::<KeyEntry>(key).unwrap().checked().unwrap();
    one.engine.registry_changes().put("a", &Entry::Key(key), &Actor::local(), now).await.unwrap();
    assert_eq!(one.ask("a").await.reason, Some(Reason::KeyNotAllowed), "here at once");
    let knows = |key: bool| {
        let registry = other.engine.policy().registry.clone();
        registry.key("a").is_some() == key
    };
    within(A_SECOND, "the key is known", async || knows(true)).await;
    assert_eq!(other.ask("a").await.reason, Some(Reason::KeyNotAllowed));
    assert!(other.engine.policy().registry.projects().contains_key("p"));
    assert!(
        other
            .engine
            .registry_changes()
            .delete(DocumentKind::Key, "a", &Actor::local(), other.engine.now())
            .await
            .unwrap()
    );
    assert!(other.ask("a").await.allowed);
    within(A_SECOND, "its end is known", async || one.engine.policy().registry.key("a").is_none()).await;
    assert!(one.ask("a").await.allowed);
}

/// Registers many keys as a version without a list of changes wrote them, and starts two instances over them.
async fn pair_with_many_keys(server: &Server) -> [Instance; 2] {
    let script = format!(
        "for n = 1, {MANY} do redis.call('HSET', KEYS[1], 'key/k' .. n, ARGV[1]) end \
         return redis.call('HSET', KEYS[1], '#', {MANY})"
    );
    let body = json!({
        "entry": {"label": "one of many", "allowed_networks": ["203.0.113.0/24", "2001:db8::/32"]},
        "updated": "2026-03-02T09:13:22.123Z",
    });
    let written = server.cli(&["EVAL", &script, "1", "kw:1:{0}:documents", &body.to_string()]);
    assert_eq!(written, "1");
    let start = async || {
        let patient = RedisOptions { partitions: 4, response_timeout: PATIENCE, ..RedisOptions::default() };
        let store = RedisStore::connect(&server.url(), patient).await.unwrap();
        Instance::start(Arc::new(store), policy(), options()).await
    };
    [start().await, start().await]
}

/// What the server has sent so far, in bytes, and how often it was asked for a whole hash.
fn sent(server: &Server) -> (u64, u64) {
    let info = server.cli(&["INFO", "everything"]);
    let figure = |name: &str| {
        let line = info.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    };
    (figure("total_net_output_bytes:"), figure("cmdstat_hgetall:calls="))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_100_000_keys_a_change_costs_every_instance_what_changed() {
    const CHANGES: usize = 20;
    let server = Server::start(&[]);
    let [one, other] = pair_with_many_keys(&server).await;
    let before = other.engine.policy().registry.clone();
    assert_eq!(before.keys().count(), MANY);
    let key = |label: String| Entry::Key(KeyEntry { label: Some(label), ..KeyEntry::default() });
    let is_known = async |id: &str, label: &str| {
        let held = other.engine.policy().registry.key(id);
        held.is_some_and(|held| held.body.label.as_deref() == Some(label))
    };
    let (bytes, wholes) = sent(&server);
    let (mut acknowledged, mut slowest) = (Duration::ZERO, Duration::ZERO);
    for n in 1..=CHANGES {
        let (id, label) = (format!("k{n}"), format!("changed {n}"));
        let began = clock::instant();
        one.engine
            .registry_changes()
            .put(&id, &key(label.clone()), &Actor::local(), one.engine.now())
            .await
            .unwrap();
        acknowledged = acknowledged.max(began.elapsed());
        let took = within(A_SECOND, "the change is known", async || is_known(&id, &label).await).await;
        slowest = slowest.max(took);
    }
    assert!(
        other
            .engine
            .registry_changes()
            .delete(DocumentKind::Key, "k50", &Actor::local(), other.engine.now())
            .await
            .unwrap()
    );
    within(A_SECOND, "the end is known", async || one.engine.policy().registry.key("k50").is_none()).await;
    let (bytes, wholes) = (sent(&server).0 - bytes, sent(&server).1 - wholes);
    println!(
        "among {MANY} keys: acknowledged within {acknowledged:?}, known elsewhere {slowest:?} later at most; \
         {} bytes each",
        bytes / CHANGES as u64
    );
    assert_eq!(wholes, 0, "nobody reads all documents");
    assert!(bytes < 1_000_000, "{bytes} bytes were sent for {CHANGES} changes; all documents are 15,000,000");
    for instance in [&one, &other] {
        assert_eq!(instance.engine.policy().registry.keys().count(), MANY - 1);
    }
    let after = other.engine.policy().registry.clone();
    let same = |n: usize| {
        let body = |registry: &Registry| registry.key(&format!("k{n}")).unwrap().body;
        Arc::ptr_eq(&body(&before), &body(&after))
    };
    assert!((51..=MANY).all(same), "what did not change was not made anew");
}

/// What an instance knows of a key: requests, and whether it has heard of a client.
async fn known(instance: &Instance, key: &Subject) -> (u64, bool) {
    let view = instance.engine.subjects().view(key, instance.engine.now()).await.unwrap();
    let profile = view.and_then(|view| view.profile).unwrap_or_default();
    (profile.requests, profile.clients.get("curl").is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_one_instance_saw_is_known_to_the_other_which_has_the_key_at_hand() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, policy(), options()).await;
    let key = Subject::key("a");
    assert!(other.ask("a").await.allowed);
    assert!(one.ask_with("a", json!({"user_agent": "curl/8.7.1"})).await.allowed);
    eventually("the other instance knows the client", async || known(&other, &key).await.1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_instances_learned_of_a_key_is_stored_when_they_have_stopped() {
    let server = Server::start(&[]);
    let [one, other] = Instance::pair(&server, policy(), options()).await;
    for _ in 0..20 {
        assert!(one.ask("a").await.allowed && other.ask("a").await.allowed);
    }
    one.shut_down().await;
    other.shut_down().await;
    let store = redis(&server.url(), "kw").await;
    let profile = store.profile(&Subject::key("a")).await.unwrap().unwrap();
    assert_eq!(profile.requests, 40);
}
