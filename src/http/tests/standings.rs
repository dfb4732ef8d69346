//! What holds a subject from around it: the network of an address, the project of a key.

use serde_json::{Value, json};

use super::{Api, record};
use crate::{
    config::default_policy,
    domain::{
        ladder::operator_ban,
        registry::{Configured, Project},
        standing::{Standing, StandingDetail},
        subject::Subject,
    },
    engine::Base,
    http::Auth,
    store::Respond,
};

const HOUR: &str = r#"{"duration_seconds":3600,"reason":"leaked"}"#;
const FOR_GOOD: &str = r#"{"duration_seconds":null,"reason":"spent"}"#;

impl Api {
    /// Where a subject stands, and why.
    async fn standing(&self, subject: &str) -> (String, Value) {
        let status = self.get(&format!("/v1/bans/{subject}")).await.good(200);
        assert_eq!(status["subject"], subject.replace("%2F", "/"), "{status}");
        (status["state"].as_str().unwrap().to_owned(), status["reason"].clone())
    }

    /// What keeps a subject from being lifted: the words of a 409.
    async fn not_lifted(&self, subject: &str) -> String {
        let problem = self.delete(&format!("/v1/bans/{subject}")).await.problem(409);
        problem["detail"].as_str().unwrap().to_owned()
    }
}

fn banned(reason: &str) -> (String, Value) {
    ("permanently_banned".to_owned(), json!(reason))
}

#[tokio::test]
async fn a_key_stands_as_its_banned_project_does_and_lifting_it_names_the_project() {
    let api = Api::open().await;
    api.put("/v1/projects/shop", "{}").await.good(201);
    api.put("/v1/keys/a", r#"{"project":"shop"}"#).await.good(201);
    api.put("/v1/keys/free", "{}").await.good(201);
    api.put("/v1/bans/project:shop", FOR_GOOD).await.good(201);
    assert_eq!(api.record("a", 1).await.good(200)["reason"], "PROJECT_BANNED");
    assert_eq!(api.standing("key:a").await, banned("spent (by project:shop)"));
    assert_eq!(api.standing("key:free").await.0, "clear");
    let detail = api.not_lifted("key:a").await;
    assert!(detail.contains("it is banned as part of project:shop; lift that one"), "{detail}");
    api.delete("/v1/bans/key:free").await.problem(404);
    let page = api.get("/v1/subjects/key:a").await.good(200);
    assert_eq!(page["standing"]["state"], "permanently_banned");
    assert!(page["summary"].as_str().unwrap().contains("project:shop"), "{page}");
    api.delete("/v1/bans/project:shop").await.good(200);
    assert_eq!(api.standing("key:a").await.0, "clear");
    assert_eq!(api.record("a", 1).await.good(200)["allowed"], true);
    api.delete("/v1/bans/key:a").await.problem(404);
}

#[tokio::test]
async fn a_ban_of_its_own_hides_that_of_the_project_which_remains_once_it_is_lifted() {
    let api = Api::open().await;
    api.put("/v1/projects/shop", "{}").await.good(201);
    api.put("/v1/keys/a", r#"{"project":"shop"}"#).await.good(201);
    api.put("/v1/bans/project:shop", FOR_GOOD).await.good(201);
    api.put("/v1/bans/key:a", HOUR).await.good(201);
    assert_eq!(api.standing("key:a").await, ("temporarily_banned".to_owned(), json!("leaked")));
    let remains = api.delete("/v1/bans/key:a").await.good(200);
    assert_eq!(remains["state"], "permanently_banned", "{remains}");
    assert_eq!(remains["reason"], "spent (by project:shop)", "{remains}");
    assert_eq!(api.record("a", 1).await.good(200)["reason"], "PROJECT_BANNED");
    api.not_lifted("key:a").await;
}

#[tokio::test]
async fn a_key_that_nobody_registered_stands_as_the_default_project_and_is_not_known_by_that() {
    let registry = Configured {
        projects: [("rest".to_owned(), Project::default())].into(),
        default_project: "rest".to_owned(),
        ..Configured::default()
    };
    let base = Base { registry: registry.into(), ..Base::from(default_policy()) };
    let api = Api::with(Auth::default(), base).await;
    api.put("/v1/keys/free", "{}").await.good(201);
    api.put("/v1/bans/project:rest", FOR_GOOD).await.good(201);
    assert_eq!(api.standing("key:anybody").await, banned("spent (by project:rest)"));
    let detail = api.not_lifted("key:anybody").await;
    assert!(detail.contains("project:rest"), "{detail}");
    assert_eq!(api.standing("key:free").await.0, "clear", "it is registered, without a project");
    api.get("/v1/subjects/key:anybody").await.problem(404);
}

#[tokio::test]
async fn an_address_in_a_banned_network_is_not_lifted_and_what_remains_of_it_is_the_network() {
    let api = Api::open().await;
    api.put("/v1/bans/ip:203.0.113.0%2F24", FOR_GOOD).await.good(201);
    for inside in ["ip:203.0.113.7", "ip:203.0.113.64%2F28"] {
        let detail = api.not_lifted(inside).await;
        assert!(detail.contains("it is banned as part of ip:203.0.113.0/24; lift that one"), "{detail}");
    }
    api.put("/v1/bans/ip:203.0.113.7", HOUR).await.good(201);
    assert_eq!(api.standing("ip:203.0.113.7").await.1, "leaked");
    let remains = api.delete("/v1/bans/ip:203.0.113.7").await.good(200);
    assert_eq!(remains["state"], "permanently_banned", "{remains}");
    assert_eq!(remains["reason"], "spent (by ip:203.0.113.0/24)", "{remains}");
    let refused = api.post("/v1/record", &record("a", 1)).await.good(200);
    assert_eq!(refused["reason"], "IP_BANNED");
    api.delete("/v1/bans/ip:203.0.113.0%2F24").await.good(200);
    assert_eq!(api.standing("ip:203.0.113.7").await.0, "clear");
    api.delete("/v1/bans/ip:203.0.113.7").await.problem(404);
}

#[tokio::test]
async fn a_ban_that_was_only_observed_hides_no_enforced_one_around_it() {
    let api = Api::open().await;
    api.put("/v1/projects/shop", "{}").await.good(201);
    api.put("/v1/keys/a", r#"{"project":"shop"}"#).await.good(201);
    let now = api.engine.now();
    let observed = Standing { unenforced: true, ..operator_ban(&Standing::default(), None, now) };
    let respond = Respond {
        subject: Subject::key("a"),
        now,
        standing: Some((observed, StandingDetail::default())),
        refunds: Vec::new(),
        events: Vec::new(),
    };
    api.engine.store().respond(&respond).await.unwrap();
    assert_eq!(api.get("/v1/bans/key:a").await.good(200)["enforced"], json!(false));
    api.put("/v1/bans/project:shop", HOUR).await.good(201);
    let status = api.get("/v1/bans/key:a").await.good(200);
    assert_eq!(status["reason"], "leaked (by project:shop)", "{status}");
    assert!(status.get("enforced").is_none(), "{status}");
}
