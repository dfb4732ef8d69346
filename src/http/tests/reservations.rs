//! Reservations on their way: made, extended, dispatched, given back, and what is answered when it is too late.

use serde_json::{Value, json};

use super::Api;

impl Api {
    async fn patch_reservation(&self, id: &str, body: &Value) -> super::Reply {
        let path = format!("/v1/reservations/{id}");
        self.call("PATCH", &path, &[("content-type", "application/json")], body.to_string()).await
    }

    async fn give_back(&self, id: &str) -> super::Reply {
        self.delete(&format!("/v1/reservations/{id}")).await
    }

    async fn ask(&self, terms: Value) -> Value {
        let mut body = json!({"key_id": "acme", "source_ip": "203.0.113.7", "model": "gpt-4.1",
            "estimated_tokens": 300});
        body.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
        self.post("/v1/check", &body.to_string()).await.good(200)
    }

    async fn reserve(&self, terms: Value) -> String {
        self.ask(terms).await["reservation_id"].as_str().unwrap().to_owned()
    }

    async fn settle(&self, id: &str, fields: Value) -> Value {
        let mut body = json!({"key_id": "acme", "source_ip": "203.0.113.7", "model": "gpt-4.1", "endpoint": "/x",
            "reservation_id": id});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.post("/v1/record", &body.to_string()).await.good(200)
    }

    /// What the windows of the key hold: tokens.
    async fn held(&self) -> u64 {
        self.get("/v1/subjects/key:acme").await.good(200)["windows"][3]["tokens"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn a_check_says_for_how_long_it_holds_and_a_retry_gets_the_same_reservation() {
    let api = Api::open().await;
    let asked = json!({"reserve": true, "lease_seconds": 120, "request_id": "r1"});
    let first = api.ask(asked.clone()).await;
    assert_eq!((&first["request_id"], &first["lease_seconds"]), (&json!("r1"), &json!(120)));
    let again = api.ask(asked).await;
    assert_eq!(again["reservation_id"], first["reservation_id"]);
    assert_eq!(api.held().await, 300, "nothing is held twice");
    let other = api.ask(json!({"reserve": true, "lease_seconds": 60, "request_id": "r1"})).await;
    assert_ne!(other["reservation_id"], first["reservation_id"], "another body is another request");
    // A record of the same id is no retry of the check.
    let id = first["reservation_id"].as_str().unwrap();
    let settled = api.settle(id, json!({"request_id": "r1", "tokens_used": 20})).await;
    assert_eq!(settled["reservation"], "settled");
    assert_eq!(api.held().await, 320);
    let plain = api.ask(json!({"request_id": "r2"})).await;
    assert!(plain.get("reservation_id").is_none() && plain["allowed"] == true);
    let made = api.ask(json!({"reserve": true})).await;
    assert_eq!((made["request_id"].as_str().unwrap().len(), &made["lease_seconds"]), (36, &json!(60)));
}

#[tokio::test]
async fn a_reservation_is_extended_and_dispatched_and_says_what_it_holds() {
    let api = Api::open().await;
    let id = api.reserve(json!({"reserve": true})).await;
    let extended = api.patch_reservation(&id, &json!({"lease_seconds": 600})).await.good(200);
    assert_eq!((&extended["id"], &extended["key_id"]), (&json!(id), &json!("acme")));
    assert_eq!((&extended["lease_seconds"], &extended["dispatched"]), (&json!(600), &json!(false)));
    assert_eq!(extended["held"], json!({"requests": 1, "tokens": 300, "cost_usd": "0.0024"}));
    let dispatched =
        api.patch_reservation(&id, &json!({"dispatched": true, "lease_seconds": 1})).await.good(200);
    assert_eq!(dispatched["dispatched"], true);
    assert!(dispatched["lease_seconds"].as_u64().unwrap() >= 598, "never earlier than it did: {dispatched}");
    assert_eq!(api.settle(&id, json!({"tokens_used": 20})).await["reservation"], "settled");
    assert_eq!(api.held().await, 20);
}

#[tokio::test]
async fn a_reservation_that_is_given_back_holds_nothing() {
    let api = Api::open().await;
    for terms in [json!({"reserve": true}), json!({"dispatched": true})] {
        let id = api.reserve(terms).await;
        assert_eq!(api.held().await, 300);
        let given = api.give_back(&id).await;
        assert_eq!((given.status, given.text.as_str()), (204, ""));
        assert_eq!(api.held().await, 0);
        api.give_back(&id).await.problem(409);
    }
    let id = api.reserve(json!({"dispatched": true})).await;
    let refused = api.settle(&id, json!({"refused_by": "keyward"})).await;
    assert_eq!((&refused["reservation"], api.held().await), (&json!("settled"), 0));
}

#[tokio::test]
async fn what_is_settled_or_never_was_is_a_conflict_that_says_so_and_repeats_nothing() {
    let api = Api::open().await;
    let settled = api.reserve(json!({"reserve": true})).await;
    api.settle(&settled, json!({"tokens_used": 20})).await;
    let never = settled.replace("rsv_0", "rsv_f");
    for id in [&*settled, &never, "sk-live-secret", "%23", "rsv_1_2", &format!("{settled}0")] {
        for reply in [api.patch_reservation(id, &json!({"dispatched": true})).await, api.give_back(id).await]
        {
            let problem = reply.problem(409);
            assert!(problem["detail"].as_str().unwrap().contains("no open reservation"), "{problem}");
            assert!(!reply.text.contains(id) && !reply.text.contains("secret"), "{}", reply.text);
        }
    }
}

#[tokio::test]
async fn a_reservation_that_has_ended_is_a_conflict_that_says_how() {
    let api = Api::open().await;
    let (held, dispatched) =
        (json!({"reserve": true, "lease_seconds": 1}), json!({"dispatched": true, "lease_seconds": 1}));
    let ids = [api.reserve(held).await, api.reserve(dispatched).await];
    // Another instance, whose clock is ahead, ends them.
    api.engine.reservations().end(api.engine.now() + 2_000).await.unwrap();
    for (id, how, answered) in [(&ids[0], "given back", "expired"), (&ids[1], "charged", "corrected")] {
        for reply in [api.patch_reservation(id, &json!({"dispatched": true})).await, api.give_back(id).await]
        {
            let problem = reply.problem(409);
            assert!(problem["detail"].as_str().unwrap().contains(how), "{problem}");
        }
        assert_eq!(api.settle(id, json!({"tokens_used": 20})).await["reservation"], answered);
        assert_eq!(
            api.settle(id, json!({"tokens_used": 20, "latency_ms": 1})).await["reservation"],
            match answered {
                "expired" => "expired",
                _ => "unknown",
            }
        );
    }
}

#[tokio::test]
async fn terms_that_cannot_be_are_each_named() {
    let api = Api::open().await;
    let id = api.reserve(json!({"reserve": true})).await;
    for (body, pointer) in [
        (json!({}), "/lease_seconds"),
        (json!({"dispatched": false}), "/lease_seconds"),
        (json!({"lease_seconds": 0}), "/lease_seconds"),
        (json!({"lease_seconds": 3601, "dispatched": true}), "/lease_seconds"),
        (json!({"until": "2030-01-01T00:00:00Z"}), "/until"),
    ] {
        assert_eq!(
            api.patch_reservation(&id, &body).await.problem(422)["errors"][0]["pointer"],
            pointer,
            "{body}"
        );
    }
    let check = |fields: &str| format!(r#"{{"key_id":"acme","source_ip":"203.0.113.7",{fields}}}"#);
    for (fields, pointers) in [
        (r#""lease_seconds":60"#, vec!["/lease_seconds"]),
        (r#""reserve":true,"lease_seconds":3601"#, vec!["/lease_seconds"]),
        (r#""reserve":false,"dispatched":true"#, vec!["/dispatched"]),
        (
            r#""estimated_tokens":1e13,"reserve":true,"lease_seconds":0"#,
            vec!["/estimated_tokens", "/lease_seconds"],
        ),
    ] {
        let problem = api.post("/v1/check", &check(fields)).await.problem(422);
        let named =
            problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap());
        assert_eq!(named.collect::<Vec<_>>(), pointers, "{fields}");
    }
}
