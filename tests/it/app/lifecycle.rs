//! Starting, answering, stopping.

use keyward::{
    app::{self, AppError},
    clock,
    config::{Config, Sources},
};
use serde_json::{Value, json};

use super::{DEADLINE, Served, client};

fn config(directory: &std::path::Path) -> Config {
    let environment = vec![
        ("KEYWARD_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("KEYWARD_STORE".to_owned(), format!("embedded:{}", directory.display())),
    ];
    Config::load(&Sources { environment, ..Sources::default() }).unwrap()
}

async fn get(url: &str) -> Value {
    client().get(url).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_service_starts_answers_and_stops_and_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut key_ids = Vec::new();
    for start in 0..2 {
        let running = app::start(config(dir.path())).await.unwrap();
        let url = format!("http://{}", running.address);
        assert_eq!(get(&format!("{url}/livez")).await["status"], "alive");
        let ready = get(&format!("{url}/readyz")).await;
        assert_eq!(
            (&ready["status"], &ready["components"]["geoip"]["state"]),
            (&json!("ready"), &json!("demo"))
        );
        let record = json!({
            "api_key": "sk-test", "endpoint": "/v1/x", "source_ip": "203.0.113.7", "tokens_used": 900,
        });
        let answer = client().post(format!("{url}/v1/record")).json(&record).send().await.unwrap();
        let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
        assert_eq!(answer["allowed"], true);
        assert_eq!(
            answer["limits"][0]["used"],
            900 * (start + 1),
            "what was counted outlives an orderly stop"
        );
        key_ids.push(answer["key_id"].clone());
        let metrics = client().get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
        assert!(
            metrics.contains("keyward_build_info") && metrics.contains("keyward_decisions_total"),
            "{metrics}"
        );
        clock::timeout(DEADLINE, running.shutdown()).await.unwrap().unwrap();
        assert!(client().get(format!("{url}/livez")).send().await.is_err());
    }
    assert_eq!(key_ids[0], key_ids[1], "the pepper that the first start made is found by the second");
}

#[tokio::test]
async fn another_pepper_over_the_same_store_is_refused_and_the_message_says_why() {
    let dir = tempfile::tempdir().unwrap();
    app::start(config(dir.path())).await.unwrap().shutdown().await.unwrap();
    let mut other = config(dir.path());
    other.pepper = Some(keyward::config::PepperText::new("another-pepper-than-before"));
    let Err(error) = app::start(other).await else { panic!("it started") };
    assert!(matches!(error, AppError::OtherPepper { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("KEYWARD_PEPPER") && text.contains("k1") && !text.contains("another-pepper"),
        "{text}"
    );
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = app::start(config(one.path())).await.unwrap();
    let mut second = config(two.path());
    second.server.listen = running.address;
    let Err(error) = app::start(second).await else { panic!("it started") };
    assert!(error.to_string().contains(&running.address.to_string()), "{error}");
    running.shutdown().await.unwrap();
}

#[test]
fn sigterm_ends_it_in_order_and_with_0() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Served::start(dir.path()).terminate().code(), Some(0));
}

#[tokio::test]
async fn operators_have_a_listener_of_their_own_where_one_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.server.admin_listen = "127.0.0.1:0".to_owned();
    let running = app::start(config).await.unwrap();
    let (callers, operators) = (running.address, running.admin_address.unwrap());
    let status = async |address: std::net::SocketAddr, path: &str| {
        client().get(format!("http://{address}{path}")).send().await.unwrap().status().as_u16()
    };
    for path in ["/v1/bans", "/v1/events", "/v1/policy", "/metrics", "/openapi.json", "/docs/"] {
        assert_eq!((status(callers, path).await, status(operators, path).await), (404, 200), "{path}");
    }
    let record = json!({ "key_id": "a", "endpoint": "/v1/x", "source_ip": "203.0.113.7" });
    for address in [callers, operators] {
        assert_eq!(status(address, "/readyz").await, 200);
        let sent = client().post(format!("http://{address}/v1/record")).json(&record).send().await.unwrap();
        assert_eq!(sent.status(), 200);
    }
    running.shutdown().await.unwrap();
}
