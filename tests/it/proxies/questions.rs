//! What every proxy is asked.

use serde_json::json;

use super::{
    programs::Proxy,
    scene::{CLIENT, Scene},
};
use crate::support::eventually;

const KEY: &str = "sk-live-4f9a";
const OTHER: &str = "sk-live-77c1";
/// A machine that compiles meanwhile may miss the documented deadline at first.
const GOOD: [(&str, &str); 1] = [("x-api-key", OTHER)];

/// What a proxy answers where Keyward has missed the deadline.
const AWAY: [u16; 4] = [500, 502, 503, 504];

/// A scene that answers in time.
async fn scene(proxy: Proxy, lines: &str) -> Scene {
    let scene = Scene::set(proxy, lines).await;
    eventually("a good key passes", async || scene.get("/hello", &GOOD).await.status == 200).await;
    scene
}

/// Waits for a status that a missed deadline does not make.
async fn expect(scene: &Scene, path: &str, headers: &[(&str, &str)], status: u16) {
    eventually(&format!("{path} with {headers:?} gets {status}"), async || {
        let reply = scene.get(path, headers).await;
        assert!(reply.status == status || AWAY.contains(&reply.status), "{path} with {headers:?}: {reply:?}");
        reply.status == status
    })
    .await;
}

pub(super) async fn a_good_key_passes_and_the_application_learns_who_asks(proxy: Proxy) {
    let scene = scene(proxy, "").await;
    for headers in [[("authorization", "Bearer sk-live-4f9a")], [("x-api-key", KEY)], [("api-key", KEY)]] {
        let made_up = [headers[0], ("x-keyward-key-id", "made-up"), ("x-keyward-reservation", "made-up")];
        expect(&scene, "/hello?a=1", &made_up, 200).await;
        let id = scene.check(KEY).await["key_id"].as_str().unwrap().to_owned();
        assert_eq!(scene.received("x-keyward-key-id"), Some(id), "{headers:?}");
        assert_eq!(
            scene.received("x-keyward-reservation"),
            Some(String::new()),
            "the client's own is replaced"
        );
        assert_eq!(scene.received("x-keyward-request-id").unwrap().len(), 36);
    }
    eventually("a request with a body passes", async || {
        let posted = scene.post("/hello", &[("x-api-key", KEY), ("content-type", "text/plain")]).await;
        assert!(posted.status == 200 || AWAY.contains(&posted.status), "{posted:?}");
        posted.status == 200
    })
    .await;
}

pub(super) async fn a_banned_key_is_refused_in_every_place_and_spelling(proxy: Proxy) {
    let scene = scene(proxy, "").await;
    scene.ban_key(KEY).await;
    let spellings = [
        ("authorization", "Bearer sk-live-4f9a"),
        ("authorization", "bEaReR sk-live-4f9a"),
        ("authorization", "Bearer \t  sk-live-4f9a \t"),
        ("x-api-key", KEY),
        ("x-api-key", " \t sk-live-4f9a\t "),
        ("api-key", KEY),
        ("x-goog-api-key", KEY),
    ];
    for spelling in spellings {
        for path in ["/hello", "/", "/a/b?without_key=allow", "//v1/authorize"] {
            expect(&scene, path, &[spelling], 403).await;
            assert_eq!(scene.received("host"), None, "the application is not asked");
        }
    }
    let behind_much = format!("/hello?a={}&key=sk-live-4f9a", "b".repeat(2048));
    for path in ["/hello?key=sk-live-4f9a", "/a?b=c&k%65y=sk%2Dlive-4f9a", &behind_much] {
        for headers in [vec![], vec![("x-forwarded-uri", "/a")], vec![("x-original-uri", "/a")]] {
            expect(&scene, path, &headers, 403).await;
        }
    }
    expect(&scene, "/hello", &GOOD, 200).await;
}

pub(super) async fn a_limited_key_gets_429_and_when_to_come_back(proxy: Proxy) {
    let scene = scene(proxy, "").await;
    scene.record(json!({ "api_key": KEY, "tokens_used": 10_001 })).await;
    eventually("the key is limited", async || {
        let reply = scene.get("/hello", &[("x-api-key", KEY)]).await;
        assert!([429, 500, 502, 503, 504].contains(&reply.status), "{reply:?}");
        reply.status == 429 && reply.retry_after.is_some_and(|seconds| (1..=61).contains(&seconds))
    })
    .await;
}

pub(super) async fn a_request_without_a_key_is_refused_or_passes_as_the_settings_say(proxy: Proxy) {
    let refusing = scene(proxy, "").await;
    for path in ["/hello", "/hello?without_key=allow", "/?without_key=allow"] {
        expect(&refusing, path, &[], 401).await;
    }
    expect(&refusing, "/hello", &[("authorization", "Basic c2s6")], 401).await;
    drop(refusing);
    let allowing = scene(proxy, "without_key = \"allow\"").await;
    expect(&allowing, "/hello", &[], 200).await;
    expect(&allowing, "/hello?without_key=refuse", &[], 200).await;
    expect(&allowing, "/hello", &[("authorization", "Basic c2s6")], 401).await;
}

pub(super) async fn two_keys_are_refused_in_whichever_places_they_are(proxy: Proxy) {
    let scene = scene(proxy, "").await;
    let bearer = ("authorization", "Bearer sk-live-4f9a");
    expect(&scene, "/hello?key=sk-live-4f9a", &[bearer, ("x-api-key", KEY), ("x-api-key", KEY)], 200).await;
    for (path, headers) in [
        ("/hello", vec![bearer, ("x-api-key", OTHER)]),
        ("/hello", vec![("x-api-key", OTHER), ("api-key", KEY)]),
        ("/hello", vec![("x-api-key", KEY), ("x-api-key", OTHER)]),
        ("/hello?key=sk-live-77c1", vec![bearer]),
        ("/hello?key=sk-live-77c1", vec![bearer, ("x-forwarded-uri", "/a"), ("x-original-uri", "/a")]),
    ] {
        expect(&scene, path, &headers, 403).await;
    }
}

pub(super) async fn an_address_that_the_client_makes_up_is_not_believed(proxy: Proxy) {
    let scene = scene(proxy, "").await;
    scene.ban("ip:198.51.100.1").await;
    let made_up = [
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-for", "198.51.100.1, 127.0.0.1"),
        ("x-real-ip", "198.51.100.1"),
        ("forwarded", "for=198.51.100.1"),
    ];
    for header in made_up {
        expect(&scene, "/hello", &[GOOD[0], header], 200).await;
    }
    scene.ban(&format!("ip:{CLIENT}")).await;
    for header in made_up {
        expect(&scene, "/hello", &[GOOD[0], header], 403).await;
    }
    expect(&scene, "/hello", &GOOD, 403).await;
}

pub(super) async fn while_keyward_is_away_requests_are_refused_or_pass_as_the_configuration_says(
    proxy: Proxy,
) {
    let mut scene = scene(proxy, "").await;
    let open = if proxy.can_be_open() { Some(scene.open(proxy).await) } else { None };
    scene.end_service();
    let refused = scene.get("/hello", &GOOD).await;
    assert!([500, 502, 503].contains(&refused.status), "{refused:?}");
    assert_eq!(scene.received("host"), None, "the application is not asked");
    if let Some(open) = &open {
        assert_eq!(scene.get_at(open, "/hello", &GOOD).await.status, 200, "{}", open.said());
        assert!(scene.received("host").is_some());
    }
}

/// The question has headers of its own beside those of the request: with about a hundred, HAProxy 2.6 would end.
pub(super) async fn many_headers_neither_hide_a_key_nor_end_the_proxy(proxy: Proxy) {
    let scene = scene(proxy, "").await;
    scene.ban_key(KEY).await;
    let names: Vec<String> = (0..98).map(|number| format!("x-header-{number}")).collect();
    for count in [70, 90, 96, 97, 98] {
        let many = names[..count].iter().map(|name| (name.as_str(), "a"));
        let headers: Vec<_> = many.chain([("x-api-key", KEY)]).collect();
        let reply = scene.get("/hello", &headers).await;
        assert!((400..=599).contains(&reply.status), "{count}: {reply:?}");
        assert_eq!(scene.received("host"), None, "{count}");
    }
    expect(&scene, "/hello", &GOOD, 200).await;
}

/// With a token configured that the proxy does not show, each answer is a 503 of Keyward's own.
pub(super) async fn a_503_that_keyward_answers_is_none_that_lets_requests_pass(proxy: Proxy) {
    let tokens = "[[auth.tokens]]\nid = \"proxy\"\nhash = \"HASH\"\nscopes = [\"record\"]";
    let scene = Scene::set(proxy, &tokens.replace("HASH", &"0".repeat(64))).await;
    if !proxy.can_be_open() {
        // It answers 404 until it has read its routes.
        eventually("503", async || scene.get("/hello", &GOOD).await.status == 503).await;
        return;
    }
    let open = scene.open(proxy).await;
    // Envoy alone cannot tell the two apart, which the page says.
    let wanted = if proxy == Proxy::Envoy { 200 } else { 503 };
    eventually(&format!("{proxy:?} answers {wanted}"), async || {
        let reply = scene.get_at(&open, "/hello", &GOOD).await;
        reply.status == wanted && scene.received("host").is_some() == (wanted == 200)
    })
    .await;
}

pub(super) async fn what_was_reserved_is_settled(proxy: Proxy) {
    let scene = scene(proxy, "reserve = true\nestimated_tokens = 300").await;
    expect(&scene, "/hello", &[("x-api-key", KEY)], 200).await;
    // One that missed the deadline holds its estimate as well.
    let held = scene.used(KEY).await;
    assert!(held >= 300 && held % 300 == 0, "{held}");
    let received = |name| scene.received(name).unwrap();
    let record = json!({
        "key_id": received("x-keyward-key-id"), "request_id": received("x-keyward-request-id"), "tokens_used": 7,
        "reservation_id": received("x-keyward-reservation"),
    });
    assert_eq!(scene.record(record).await["reservation"], "settled");
    assert_eq!(scene.used(KEY).await, held - 300 + 7);
}
