//! What was acknowledged survives `kill -9`.

use serde_json::{Value, json};

use super::{Served, client};

#[tokio::test]
async fn acknowledged_bans_and_liftings_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let client = client();
    for round in 0..3 {
        let served = Served::start(dir.path());
        let (banned, lifted) = (format!("key:banned-{round}"), format!("key:lifted-{round}"));
        for subject in [&banned, &lifted] {
            let order = json!({ "duration_seconds": null, "reason": "stolen" });
            let put =
                client.put(format!("{}/v1/bans/{subject}", served.url)).json(&order).send().await.unwrap();
            assert_eq!(put.status(), 201);
        }
        let delete = client.delete(format!("{}/v1/bans/{lifted}", served.url)).send().await.unwrap();
        assert_eq!(delete.status(), 200);
        served.kill();

        let served = Served::start(dir.path());
        for (subject, state) in [(&banned, "permanently_banned"), (&lifted, "clear")] {
            let shown = client.get(format!("{}/v1/bans/{subject}", served.url)).send().await.unwrap();
            assert_eq!(shown.json::<Value>().await.unwrap()["state"], state, "{subject}");
        }
        let record =
            json!({ "key_id": format!("banned-{round}"), "endpoint": "/v1/x", "source_ip": "203.0.113.7" });
        let answer = client.post(format!("{}/v1/record", served.url)).json(&record).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["reason"], "API_KEY_BANNED");
        served.kill();
    }
}
