//! What operators try on the page: a policy before it is put in force, and a sink.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{FORM, Page};
use crate::{
    config::default_policy,
    domain::{
        event::{Event, EventType},
        finding::{AnomalyKind, Mode, Severity},
        scope::Scope,
        subject::Subject,
    },
    forward::SinkSettings,
    http::{Auth, new_token},
};

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn a_policy_is_tried_on_what_was_found_and_not_put_in_force() {
    let page = Page::open().await;
    let found = Event {
        request_id: Some("r-1".to_owned()),
        ..Event::new(
            page.engine.now() - 60_000,
            EventType::Anomaly(AnomalyKind::TrafficBurst),
            Severity::Critical,
            Some(Subject::key("a")),
        )
    };
    page.engine.store().append(&[found]).await.unwrap();
    let form = page.get("/ui/policy").await;
    let token = form.form_token().to_owned();
    let mut policy = default_policy();
    policy.detectors.traffic_burst.mode = Mode::Shadow;
    policy.detectors.traffic_burst.factor = 77.0;
    let try_out = async |policy: &str| {
        let body = format!("form_token={token}&days=1&policy={}", encoded(policy));
        page.call("POST", "/ui/policy", &[FORM], &body).await
    };
    let shown = try_out(&serde_json::to_string(&policy).unwrap()).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    for part in [
        "<th scope=\"row\">bans</th><td class=\"number\">1</td><td class=\"number\"><strong>0</strong>",
        "<code>detectors.traffic_burst.factor</code>",
        "href=\"/ui/subjects/key:a\"",
        "<td>1 bans, 1 refused</td><td>nothing</td>",
    ] {
        assert!(shown.text.contains(part), "{part} in {}", shown.text);
    }
    assert_eq!(page.engine.policy().policy, default_policy());
    for (wrong, named) in [("{", "policy must be a JSON object"), ("{\"laddder\":1}", "laddder")] {
        let refused = try_out(wrong).await;
        assert_eq!(refused.status, 422, "{wrong}");
        assert!(refused.text.contains(named), "{}", refused.text);
    }
    assert_eq!(page.call("POST", "/ui/policy", &[FORM], "policy=%7B%7D").await.status, 403);
}

#[tokio::test]
async fn a_sink_is_tried_by_a_button_that_only_an_admin_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.log");
    let written = format!("name = 'siem'\ntype = 'file'\npath = '{}'", path.display());
    let sink = SinkSettings::read(written.parse().unwrap()).unwrap();
    let tokens = [[Scope::Admin], [Scope::Read]].map(|scopes| new_token(None, &scopes, None).unwrap());
    let entries = tokens.iter().map(|(_, entry)| entry.clone()).collect();
    let auth = Auth::new(&crate::config::Auth { tokens: entries }).unwrap();
    let page = Page::set_up(auth, |settings| settings.sinks = vec![sink]).await;
    let [admin, reader] = [page.sign_in(&tokens[0].0).await, page.sign_in(&tokens[1].0).await];
    let seen = async |cookie: &str, path: &str| page.call("GET", path, &[("cookie", cookie)], "").await;
    assert!(!seen(&reader, "/ui/sinks").await.text.contains("Send a test"));
    assert!(!seen(&reader, "/ui/health").await.text.contains("max_connections"));
    let shown = seen(&admin, "/ui/health").await.text;
    assert!(shown.contains("max_connections"), "{shown}");
    let form = seen(&admin, "/ui/sinks").await;
    assert!(form.text.contains("Send a test to siem"), "{}", form.text);
    let send = async |cookie: &str, token: &str, sink: &str| {
        let body = format!("form_token={token}&sink={sink}");
        page.call("POST", "/ui/sinks", &[FORM, ("cookie", cookie)], &body).await
    };
    let sent = send(&admin, form.form_token(), "siem").await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    assert!(sent.text.contains("siem took the test event: ") && path.exists(), "{}", sent.text);
    assert_eq!(send(&admin, form.form_token(), "absent").await.status, 404);
    let own = seen(&reader, "/ui/sinks").await;
    assert_eq!(send(&reader, own.form_token(), "siem").await.status, 403);
    std::fs::remove_dir_all(directory.path()).unwrap();
    let failed = send(&admin, form.form_token(), "siem").await;
    assert!(
        failed.text.contains("did not reach siem: ") && failed.text.contains("role=\"alert\""),
        "{}",
        failed.text
    );
}
