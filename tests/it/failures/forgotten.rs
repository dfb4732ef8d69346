//! Redis comes back empty: what instances know is told to it again.

use keyward::domain::{actor::Actor, decision::Reason, subject::Subject};
use serde_json::json;

use crate::{redis_server::Server, support::*};

/// Two instances that knew a ban, an allowlist entry and a policy, after Redis came back without any of it.
struct Forgotten {
    instances: [Instance; 2],
    key: Subject,
    _server: Server,
}

async fn forgotten() -> Forgotten {
    let mut server = Server::start(&[]);
    let instances = Instance::pair(&server, policy(), with_production_deadline()).await;
    let key = Subject::key("banned");
    // Not its first standing, so that the numbers that instances hold are ahead of those that come.
    for _ in 0..3 {
        instances[0].ban(&key).await;
        instances[0]
            .engine
            .bans()
            .lift(&key, "found", &Actor::local(), instances[0].engine.now())
            .await
            .unwrap();
    }
    instances[0].ban(&key).await;
    let now = instances[0].engine.now();
    instances[0].engine.policy_changes().set_policy(&limits_alone(100), &Actor::local(), now).await.unwrap();
    instances[1]
        .engine
        .policy_changes()
        .write_allowlist("country:SG", json!({"reason": "office"}), &Actor::local(), now)
        .await
        .unwrap();
    eventually("both know everything", async || {
        instances.iter().all(|i| i.holds(&key) && i.knows_documents())
    })
    .await;
    server.kill();
    for instance in &instances {
        eventually("each instance notices", async || {
            instance.ask("a").await;
            instance.engine.health().degraded_since.is_some()
        })
        .await;
    }
    server.start_again(&[]);
    for instance in &instances {
        instance.healed().await;
    }
    Forgotten { instances, key, _server: server }
}

impl Instance {
    fn knows_documents(&self) -> bool {
        self.engine.policy().policy == limits_alone(100) && self.engine.allowlist().len() == 1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_that_redis_has_forgotten_is_told_again_and_can_still_be_lifted_everywhere() {
    let Forgotten { instances: [one, other], key, _server } = forgotten().await;
    let stored = one.engine.store().standing(&key).await.unwrap().expect("the ban is in Redis again");
    assert!(stored.standing.is_banned_at(one.engine.now()));
    for instance in [&one, &other] {
        assert_eq!(instance.ask("banned").await.reason, Some(Reason::ApiKeyBanned));
    }
    one.engine
        .bans()
        .lift(&key, "found", &Actor::local(), one.engine.now())
        .await
        .unwrap()
        .expect("there is a ban to lift");
    eventually("the other instance lets go", async || !other.holds(&key)).await;
    for instance in [&one, &other] {
        eventually("the key may come", async || instance.ask("banned").await.allowed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_and_allowlist_that_redis_has_forgotten_are_told_again() {
    let Forgotten { instances, _server, .. } = forgotten().await;
    assert!(instances.iter().all(Instance::knows_documents));
    let fresh = Instance::on(&_server, policy(), with_production_deadline()).await;
    assert!(fresh.knows_documents(), "they are in Redis again");
    let entry = "country:SG";
    let now = instances[1].engine.now();
    instances[1]
        .engine
        .policy_changes()
        .write_allowlist(entry, serde_json::Value::Null, &Actor::local(), now)
        .await
        .unwrap();
    eventually("a later change reaches everybody", async || {
        instances.iter().chain([&fresh]).all(|i| i.engine.allowlist().is_empty())
    })
    .await;
}
