//! A ban of an address spares the keys that have long succeeded from there, also where only the store remembers that.

use std::sync::Arc;

use keyward::{
    clock,
    domain::DAY,
    intake::{Intake, Peppers, WireRecord},
    pricing::Prices,
};
use serde_json::{Value, json};

use super::scene::{EVERYWHERE, PEPPER, Scene, VIRTUAL, chat, header};
use crate::support::{SINGAPORE, eventually};

const STRANGER: &str = "kwk_registered-and-never-seen-here";

/// What a client behind the proxy at this address is answered.
async fn status(scene: &Scene, key: &str) -> (u16, String) {
    let url = format!("{}/v1/chat/completions", scene.url);
    let request = scene.client.post(url).bearer_auth(key).header("x-forwarded-for", SINGAPORE);
    let response = request.json(&chat("hi", json!({ "max_tokens": 5 }))).send().await.unwrap();
    (response.status().as_u16(), header(&response, "x-keyward-reason"))
}

/// A request of the key that succeeded from there two days ago.
async fn succeeded_two_days_ago(scene: &Scene, key: &str) {
    let intake =
        Intake::live(Peppers::parse(PEPPER).unwrap(), Arc::new(Prices::open(None).unwrap()), 300_000);
    let mut wire = WireRecord::new("/v1/chat/completions".to_owned(), SINGAPORE.to_owned());
    (wire.api_key, wire.response_status) = (Some(key.to_owned()), Some(200));
    let then = clock::wall() - 2 * DAY;
    let record = intake.record(wire, then).unwrap();
    assert!(scene.running.engine.record(&[record], then).await[0].allowed);
}

async fn is_banned(scene: &Scene) -> bool {
    let url = format!("http://{}/v1/bans", scene.running.address);
    let bans: Value = scene.client.get(url).send().await.unwrap().json().await.unwrap();
    bans["items"].as_array().unwrap().iter().any(|ban| ban["subject"] == format!("ip:{SINGAPORE}"))
}

#[tokio::test]
async fn a_key_that_worked_from_a_banned_address_before_is_let_through_also_after_a_restart() {
    let scene = Scene::with("trusted_proxies = [\"127.0.0.0/8\"]", |_| EVERYWHERE.to_owned()).await;
    scene.register_key(STRANGER, json!({ "project": "shop" })).await;
    succeeded_two_days_ago(&scene, VIRTUAL).await;
    for n in 0..10 {
        assert_eq!(status(&scene, &format!("kwk_made-up-{n}")).await.0, 401);
    }
    eventually("who tries keys is banned", async || is_banned(&scene).await).await;
    // The profiles of keys are not in memory then.
    let scene = scene.restart().await;
    let banned = (403, "IP_BANNED".to_owned());
    assert_eq!(status(&scene, STRANGER).await, banned, "a key without a past from there is not spared");
    assert_eq!(status(&scene, VIRTUAL).await, (200, String::new()));
    assert_eq!(scene.provider.bill.seen().len(), 1);
    scene.stop().await;
}
