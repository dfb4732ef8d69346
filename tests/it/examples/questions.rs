//! What every example is asked.

use super::{
    programs::{Example, Without},
    scene::Scene,
};
use crate::{redis_server::Server, support::eventually};

/// What one test calls a key.
const KEY: &str = "sk-live-4f9a";
const OTHER: &str = "sk-live-77c1";

pub(super) async fn a_banned_key_is_refused_in_every_header_and_spelling(example: Example) {
    let scene = Scene::set(example).await;
    let spellings = [
        ("authorization", "Bearer sk-live-4f9a"),
        ("authorization", "bEaReR sk-live-4f9a"),
        ("authorization", "Bearer \t  sk-live-4f9a \t"),
        ("x-api-key", "sk-live-4f9a"),
        ("x-api-key", " \t sk-live-4f9a\t "),
        ("api-key", "sk-live-4f9a"),
    ];
    for spelling in spellings {
        assert_eq!(scene.hello(&[spelling]).await.status, 200, "{spelling:?} before the ban");
    }
    scene.service.ban(KEY).await;
    for spelling in spellings {
        let reply = scene.hello(&[spelling]).await;
        assert_eq!(reply.status, 403, "{spelling:?}");
        assert!(reply.retry_after.is_some_and(|seconds| (500..=600).contains(&seconds)), "{reply:?}");
    }
    assert_eq!(scene.hello(&[("x-api-key", OTHER)]).await.status, 200, "another key is none of its business");
}

pub(super) async fn one_key_passes_however_often_it_is_named_and_two_keys_do_not(example: Example) {
    let scene = Scene::set(example).await;
    let bearer = ("authorization", "Bearer sk-live-4f9a");
    let passes = [
        vec![],
        vec![("x-api-key", ""), ("authorization", "")],
        vec![bearer, ("x-api-key", KEY), ("api-key", KEY)],
        vec![bearer, ("x-api-key", "")],
        vec![("x-api-key", KEY), ("x-api-key", KEY)],
    ];
    for headers in passes {
        assert_eq!(scene.hello(&headers).await.status, 200, "{headers:?}");
    }
    let long = "k".repeat(513);
    let refused = [
        vec![bearer, ("x-api-key", OTHER)],
        vec![("x-api-key", OTHER), bearer],
        vec![("x-api-key", KEY), ("api-key", OTHER)],
        vec![("x-api-key", KEY), ("x-api-key", OTHER)],
        vec![("authorization", "Basic sk-live-4f9a")],
        vec![("authorization", KEY)],
        vec![("authorization", "Basic sk-live-4f9a"), ("x-api-key", KEY)],
        vec![("authorization", "Bearer sk-live-4f9a sk-live-77c1")],
        vec![("x-api-key", "sk-live-4f9a, sk-live-77c1")],
        vec![("x-api-key", "sk-live-4f9\u{e9}")],
        vec![("x-api-key", long.as_str())],
    ];
    for headers in refused {
        assert_eq!(scene.hello(&headers).await.status, 403, "{headers:?}");
    }
    let twice = scene.hello(&[bearer, ("authorization", "Bearer sk-live-77c1")]).await.status;
    assert!([400, 403].contains(&twice), "two headers of one name, which nginx answers itself: {twice}");
}

pub(super) async fn a_limited_key_is_told_when_to_come_back_and_asks_nothing_of_a_model_for_free(
    example: Example,
) {
    let scene = Scene::set(example).await;
    scene.service.spend(KEY, 9_999).await;
    let reply = scene.ask("count", KEY).await;
    assert_eq!(reply.status, 429);
    assert!(reply.retry_after.is_some_and(|seconds| (1..=61).contains(&seconds)), "{reply:?}");
    assert_eq!(scene.hello(&[("x-api-key", KEY)]).await.status, 200, "what asks no model holds no tokens");
}

pub(super) async fn what_was_held_is_settled_however_the_request_ends(example: Example) {
    let mut scene = Scene::set(example).await;
    let held = scene.leave("left").await;
    let expected = if example.is_proxy() { 4_096 + 12..=4_096 + 13 } else { 100 + 12..=100 + 13 };
    assert!(expected.contains(&held), "the most that it may use is held: {held}");
    assert_eq!(scene.leave_midway("left-midway").await, held);
    for (mood, status) in [("count", 200), ("invalid", 422), ("fail", 500)] {
        assert_eq!(scene.ask(mood, mood).await.status, status, "{mood}");
    }
    scene.end_application();
    if example.is_proxy() {
        let status = scene.ask("count", "unreached").await.status;
        assert!([502, 503].contains(&status), "{status}");
        scene.settled("unreached", 0).await;
    }
    scene.settled("count", 7).await;
    scene.settled("invalid", 0).await;
    scene.settled("fail", held).await;
    scene.settled("left", held).await;
    scene.settled("left-midway", held).await;
}

pub(super) async fn without_keyward_it_lets_through_or_refuses_as_it_is_told(example: Example) {
    let mut scene = Scene::over(example, None, Without::Open).await;
    let closed = scene.closed().await;
    let key = [("x-api-key", KEY)];
    // Within the documented deadline, which a busy machine may miss at first.
    eventually("closed, and there is Keyward", async || {
        scene.hello_at(&closed.url, &key).await.status == 200
    })
    .await;
    scene.service.kill();
    assert_eq!(scene.ask("count", "meanwhile").await.status, 200, "open");
    assert_eq!(scene.hello_at(&closed.url, &key).await.status, 503, "closed");
    assert_eq!(
        scene.hello_at(&closed.url, &[]).await.status,
        200,
        "without a key it is the application's to refuse"
    );
    let silent = scene.service.silent();
    assert_eq!(scene.hello(&key).await.status, 200, "open, and Keyward does not say anything");
    assert_eq!(
        scene.hello_at(&closed.url, &key).await.status,
        503,
        "closed, and Keyward does not say anything"
    );
    drop(silent);
    scene.service.start();
    if !example.is_proxy() {
        scene.settled("meanwhile", 7).await;
    }
    scene.service.ban(KEY).await;
    eventually("open, and Keyward is back", async || scene.hello(&key).await.status == 403).await;
    eventually("closed, and Keyward is back", async || scene.hello_at(&closed.url, &key).await.status == 403)
        .await;
}

pub(super) async fn without_its_store_the_service_refuses_and_nobody_is_called_banned(example: Example) {
    let mut store = Server::start(&[]);
    let scene = Scene::over(example, Some(store.url()), Without::Patience).await;
    let key = [("x-api-key", KEY)];
    // Within the deadline of the store, which a busy machine may miss at first.
    eventually("a request passes", async || scene.hello(&key).await.status == 200).await;
    store.kill();
    eventually("a request is refused with 503", async || {
        let status = scene.hello(&key).await.status;
        assert!([200, 503].contains(&status), "{status}");
        status == 503
    })
    .await;
}
