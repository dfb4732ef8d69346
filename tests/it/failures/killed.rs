//! Redis is killed and comes back with what it had written.

use keyward::domain::{actor::Actor, decision::Reason, event::EventType, subject::Subject};

use crate::{redis_server::Server, support::*};

const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_and_a_restart_instances_heal_and_bans_are_there() {
    let mut server = Server::start(DURABLE);
    let instances = Instance::pair(&server, policy(), with_production_deadline()).await;
    let key = Subject::key("banned");
    instances[0].ban(&key).await;
    let project = Subject::project("p");
    instances[1].ban(&project).await;
    instances[1]
        .engine
        .bans()
        .lift(&project, "found", &Actor::local(), instances[1].engine.now())
        .await
        .unwrap();
    server.kill();
    for instance in &instances {
        eventually("each instance notices", async || {
            assert!(instance.ask("a").await.allowed);
            instance.engine.health().degraded_since.is_some()
        })
        .await;
        assert!(instance.ban_is_refused().await);
    }
    server.start_again(DURABLE);
    for instance in &instances {
        instance.healed().await;
        eventually("answers are sound again", async || !instance.ask("a").await.degraded).await;
        assert_eq!(instance.ask("banned").await.reason, Some(Reason::ApiKeyBanned));
        assert!(!instance.holds(&project), "what was lifted stays lifted");
    }
    instances[0].logged(EventType::StoreRecovered).await;
    let fresh = Instance::on(&server, policy(), with_production_deadline()).await;
    assert!(fresh.holds(&key) && !fresh.holds(&project));
}
