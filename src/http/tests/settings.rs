//! The settings in force, over HTTP.

use serde_json::json;

use super::Api;
use crate::{
    config::default_policy,
    forward::SinkSettings,
    http::{Auth, Scope, ShownConfig, new_token},
};

#[tokio::test]
async fn settings_are_shown_without_a_secret_and_with_where_each_is() {
    let (_, entry) = new_token(Some("on-call"), &[Scope::Read], None).unwrap();
    let hash = entry.hash.clone();
    let written = "name = 'pager'\ntype = 'webhook'\nurl = 'https://hooks.example/t0ps3cret'\n\
                   secret = 'env:PAGER_SECRET'";
    let sink = SinkSettings::read(written.parse().unwrap()).unwrap();
    let api = Api::set_up(Auth::default(), default_policy(), |settings| {
        settings.store.url = "rediss://ops:t0ps3cret@db.example/0".to_owned();
        settings.sinks = vec![sink];
        settings.auth.tokens = vec![entry];
    })
    .await;
    let reply = api.get("/v1/config").await;
    let shown = reply.good(200);
    assert_eq!(shown["version"], env!("CARGO_PKG_VERSION"));
    let settings = &shown["settings"];
    assert_eq!(settings["store"]["url"], "rediss://ops:***@db.example/0");
    assert_eq!(settings["auth"]["tokens"][0]["id"], "on-call");
    assert_eq!(settings["auth"]["tokens"][0]["hash"], "***");
    assert_eq!(settings["sinks"][0]["url"], "https://hooks.example/***");
    assert_eq!(settings["sinks"][0]["secret"], "env:PAGER_SECRET");
    assert_eq!(settings["server"]["listen"], "127.0.0.1:8080");
    assert!(!reply.text.contains("t0ps3cret") && !reply.text.contains(&hash), "{}", reply.text);
    api.get("/v1/config?section=auth").await.problem(422);
}

#[test]
fn settings_that_take_the_place_of_others_are_shown_in_theirs() {
    let mut settings: crate::config::Config = toml::from_str(crate::config::DEFAULT_TOML).unwrap();
    let shown = ShownConfig::new(&settings);
    settings.server.max_connections = 7;
    let upstream =
        json!({ "name": "a", "dialect": "openai", "base_url": "https://a.example/v1?key=t0ps3cret" });
    settings.gateway.upstreams = vec![serde_json::from_value(upstream).unwrap()];
    shown.replace(&settings);
    assert_eq!(shown.show()["server"]["max_connections"], 7);
    assert_eq!(shown.show()["gateway"]["upstreams"][0]["base_url"], "https://a.example/v1?***");
}
