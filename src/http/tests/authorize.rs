//! What a reverse proxy asks, and what it is told.

use axum::{body::Body, http::Request};
use serde_json::Value;
use tower::ServiceExt;

use super::{Api, Reply};
use crate::{
    config::{Config, default_policy},
    domain::enforcement::Enforcement,
    http::{Auth, Scope, authorize::client::Peer, new_token},
};

const KEY: (&str, &str) = ("x-api-key", "sk-1");
const ROUTE: &str = "/v1/authorize";

impl Api {
    /// With these lines under `[authorize]` and no tokens.
    async fn authorizing(lines: &str) -> Self {
        let changed = format!("{lines}\n");
        let change = |settings: &mut Config| {
            let mut table = toml::Table::try_from(&settings.authorize).unwrap();
            table.extend(changed.parse::<toml::Table>().unwrap());
            settings.authorize = table.try_into().unwrap();
        };
        Self::set_up(Auth::default(), default_policy(), change).await
    }

    /// Asks as a proxy does whose connection comes from `peer`.
    async fn ask_from(&self, peer: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let peer = Peer::Address(crate::domain::address::parse(peer).unwrap());
        let request = request.extension(peer).body(Body::empty()).unwrap();
        Reply::of(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// Asks as a proxy on this machine does.
    async fn ask_proxied(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask_from("127.0.0.1", "GET", path, headers).await
    }

    /// Bans a subject for ten minutes.
    async fn ban_subject(&self, subject: &str) {
        let path = format!("/v1/bans/{subject}");
        self.put(&path, r#"{"duration_seconds":600,"reason":"leaked"}"#).await.good(201);
    }

    async fn ban_key(&self, key: &str) -> String {
        let id = self.ask_proxied(ROUTE, &[("x-api-key", key)]).await.header("x-keyward-key-id").to_owned();
        self.ban_subject(&format!("key:{id}")).await;
        id
    }
}

impl Reply {
    /// Decision and reason, as the headers have them.
    fn decision(&self) -> (u16, &str, &str) {
        (self.status, self.header("x-keyward-decision"), self.header("x-keyward-reason"))
    }
}

#[tokio::test]
async fn a_good_key_passes_by_any_method_and_path_with_every_header_and_no_body() {
    let api = Api::open().await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        for path in
            [ROUTE, "/v1/authorize/", "/v1/authorize/v1/chat/completions?x=1", "/v1/authorize//%2e%2e/a"]
        {
            let reply = api.ask_from("127.0.0.1", method, path, &[KEY]).await;
            assert_eq!(reply.decision(), (200, "allow", "NONE"), "{method} {path}");
            assert_eq!(reply.text, "", "{method} {path}");
            assert!(reply.header("x-keyward-key-id").starts_with("k1:"));
            assert_eq!(reply.header("x-keyward-request-id").len(), 36);
            assert_eq!(reply.header("x-keyward-reservation"), "");
            assert_eq!(reply.header("cache-control"), "no-store");
            assert!(reply.header("ratelimit").contains("r="), "{:?}", reply.headers);
            assert!(reply.header("ratelimit-policy").contains("1min-tokens"), "{:?}", reply.headers);
        }
    }
}

#[tokio::test]
async fn host_origin_and_a_forms_content_type_are_the_clients_and_do_not_matter() {
    let api = Api::guarded(vec![new_token(None, &[Scope::Record], None).unwrap().1]).await;
    let theirs = [
        ("host", "shop.example"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("content-type", "text/plain"),
        ("authorization", "Bearer sk-1"),
    ];
    let reply = api.ask_from("127.0.0.1", "POST", ROUTE, &theirs).await;
    assert_eq!(reply.decision(), (503, "misconfigured", "TOKEN_REFUSED"), "only the token is missing");
    assert!(!reply.text.contains("token"), "the client learns nothing of it: {}", reply.text);
    let open = Api::open().await;
    assert_eq!(open.ask_from("127.0.0.1", "POST", ROUTE, &theirs).await.status, 200);
}

#[tokio::test]
async fn a_listener_of_its_own_takes_no_token_and_has_nothing_else() {
    let api = Api::guarded(vec![new_token(None, &[Scope::Record], None).unwrap().1]).await;
    let ask = async |path: &str| {
        let request = Request::builder().uri(path).header(KEY.0, KEY.1).body(Body::empty()).unwrap();
        Reply::of(api.authorizes.clone().oneshot(request).await.unwrap()).await
    };
    assert_eq!(ask(ROUTE).await.decision(), (200, "allow", "NONE"));
    assert_eq!(ask("/v1/authorize/x").await.status, 200);
    for path in ["/", "/v1/bans", "/livez", "/metrics", "/v1/authorized"] {
        ask(path).await.problem(404);
    }
}

#[tokio::test]
async fn a_missing_malformed_or_ambiguous_key_is_refused_with_what_clients_understand() {
    let api = Api::open().await;
    let two = [("authorization", "Bearer sk-2"), KEY];
    type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'a str, &'a str);
    let cases: [Case<'_>; 4] = [
        (&[], 401, "MISSING_KEY", "authentication_error"),
        (&[("authorization", "Basic c2s=")], 401, "MALFORMED_KEY", "authentication_error"),
        (&[("x-api-key", "sk 1")], 401, "MALFORMED_KEY", "authentication_error"),
        (&two, 403, "AMBIGUOUS_KEY", "permission_error"),
    ];
    for (headers, status, reason, kind) in cases {
        let reply = api.ask_proxied(ROUTE, headers).await;
        assert_eq!(reply.decision(), (status, "deny", reason));
        let body: Value = reply.json();
        assert_eq!((&body["type"], &body["error"]["type"]), (&"error".into(), &kind.into()));
        assert_eq!(body["error"]["code"], reason);
        assert!(body["error"]["message"].as_str().unwrap().ends_with('.'));
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("www-authenticate").is_empty(), status != 401);
        assert_eq!(reply.header("x-keyward-key-id"), "", "said, so that it replaces what the client sent");
    }
}

#[tokio::test]
async fn while_the_policy_observes_nothing_is_refused_and_the_reason_is_named() {
    let mut policy = default_policy();
    policy.enforcement = Enforcement::Observe;
    let api = Api::set_up(Auth::default(), policy, |_| ()).await;
    for (headers, reason) in [
        (vec![], "MISSING_KEY"),
        (vec![("authorization", "Basic c2s6")], "MALFORMED_KEY"),
        (vec![KEY, ("api-key", "sk-2")], "AMBIGUOUS_KEY"),
    ] {
        let reply = api.ask_proxied(ROUTE, &headers).await;
        assert_eq!((reply.decision(), reply.text.as_str()), ((200, "allow", reason), ""), "{headers:?}");
        assert_eq!(reply.header("x-keyward-key-id"), "");
    }
    api.ban_key("sk-1").await;
    assert_eq!(api.ask_proxied(ROUTE, &[KEY]).await.decision(), (200, "allow", "NONE"));
}

#[tokio::test]
async fn the_ban_of_a_key_holds_by_every_place_path_and_form() {
    let api = Api::open().await;
    let id = api.ban_key("sk-1").await;
    let forms: [&[(&str, &str)]; 9] = [
        &[("authorization", "Bearer sk-1")],
        &[("authorization", "bEARER \t sk-1 ")],
        &[KEY],
        &[("x-api-key", "\tsk-1 ")],
        &[("api-key", "sk-1")],
        &[("x-goog-api-key", "sk-1")],
        &[("x-original-uri", "/a?key=sk%2d1")],
        &[("x-forwarded-uri", "/a?b=c&key=sk-1")],
        &[("x-forwarded-uri", "/a"), ("x-original-uri", "/a?key=sk-1")],
    ];
    for headers in forms {
        for path in [ROUTE, "/v1/authorize/a/b", "/v1/authorize?observe=false", "/v1/authorize/x?observe"] {
            let reply = api.ask_proxied(path, headers).await;
            assert_eq!(reply.decision(), (403, "deny", "API_KEY_BANNED"), "{path} {headers:?}");
            assert_eq!(reply.header("x-keyward-key-id"), id);
            assert!((590..=600).contains(&reply.header("retry-after").parse().unwrap()));
        }
    }
    assert_eq!(api.ask_proxied("/v1/authorize?key=sk-1", &[]).await.status, 403);
    assert_eq!(api.ask_proxied("/v1/authorize/a?x&key=sk-1", &[]).await.status, 403);
    let behind_hash = api.ask_proxied(ROUTE, &[("x-original-uri", "/a?key=sk-1#d")]).await;
    assert_eq!(behind_hash.decision(), (403, "deny", "AMBIGUOUS_KEY"));
    assert_eq!(api.ask_proxied(ROUTE, &[("x-api-key", "sk-2")]).await.status, 200);
    let check = r#"{"api_key":"sk-1","source_ip":"127.0.0.1"}"#;
    assert_eq!(api.post("/v1/check", check).await.good(200)["reason"], "API_KEY_BANNED");
}

#[tokio::test]
async fn the_ban_of_an_address_holds_in_every_form_and_without_a_key() {
    let api = Api::open().await;
    api.ban_subject("ip:203.0.113.7").await;
    api.ban_subject("ip:198.51.100.0/24").await;
    for address in [
        "203.0.113.7",
        "::ffff:203.0.113.7",
        "64:ff9b::203.0.113.7",
        "[::ffff:cb00:7107]:443",
        "198.51.100.9",
    ] {
        for header in ["x-forwarded-for", "x-real-ip"] {
            for key in [Some(KEY), None] {
                let headers: Vec<_> = key.into_iter().chain([(header, address)]).collect();
                let reply = api.ask_proxied("/v1/authorize?without_key=allow", &headers).await;
                assert_eq!(reply.decision(), (403, "deny", "IP_BANNED"), "{headers:?}");
                assert!((590..=600).contains(&reply.header("retry-after").parse().unwrap()));
            }
        }
    }
    let sent = [KEY, ("x-forwarded-for", "203.0.113.7, 192.0.2.1")];
    assert_eq!(
        api.ask_proxied(ROUTE, &sent).await.status,
        200,
        "the client is the nearest, whatever it sends"
    );
    let own = [KEY, ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(api.ask_from("203.0.113.7", "GET", ROUTE, &own).await.status, 403, "nobody else is believed");
}

#[tokio::test]
async fn a_missing_key_passes_where_that_is_allowed_and_a_malformed_one_never() {
    let api = Api::open().await;
    let reply = api.ask_proxied("/v1/authorize?without_key=allow", &[]).await;
    assert_eq!(reply.decision(), (200, "allow", "NO_KEY"));
    let basic = [("authorization", "Basic c2s=")];
    assert_eq!(api.ask_proxied("/v1/authorize?without_key=allow", &basic).await.status, 401);
    let by_settings = Api::authorizing("without_key = \"allow\"").await;
    assert_eq!(by_settings.ask_proxied("/v1/authorize/a", &[]).await.status, 200);
    assert_eq!(by_settings.ask_proxied("/v1/authorize?without_key=refuse", &[]).await.status, 401);
}

#[tokio::test]
async fn below_the_route_the_query_is_the_clients_and_switches_nothing() {
    let api = Api::open().await;
    for path in
        ["/v1/authorize/?without_key=allow", "/v1/authorize/a?without_key=allow", "/v1/authorize/a?nonsense"]
    {
        assert_eq!(api.ask_proxied(path, &[]).await.decision(), (401, "deny", "MISSING_KEY"), "{path}");
    }
    let reply = api.ask_proxied("/v1/authorize/a?reserve&estimated_tokens=5", &[KEY]).await;
    assert_eq!((reply.status, reply.header("x-keyward-reservation")), (200, ""));
}

#[tokio::test]
async fn an_option_that_there_is_not_is_a_mistake_of_whoever_set_up_the_proxy() {
    let api = Api::open().await;
    for query in ["nonsense", "without_key=maybe", "observe=1", "reserve&observe", "lease_seconds=0"] {
        let reply = api.ask_proxied(&format!("/v1/authorize?{query}"), &[KEY]).await;
        assert_eq!(reply.decision(), (503, "misconfigured", "OPTION_UNKNOWN"), "{query}");
        assert!(!reply.text.contains("nonsense"), "{}", reply.text);
    }
}

#[tokio::test]
async fn what_is_reserved_is_settled_by_a_record_that_names_it() {
    let api = Api::open().await;
    let reply = api.ask_proxied("/v1/authorize?reserve&estimated_tokens=300&lease_seconds=30", &[KEY]).await;
    let (id, key) = (reply.header("x-keyward-reservation"), reply.header("x-keyward-key-id"));
    assert!(id.starts_with("rsv_"), "{:?}", reply.headers);
    assert!(reply.header("ratelimit").contains("r="));
    let record = serde_json::json!({
        "key_id": key, "endpoint": "/", "source_ip": "127.0.0.1", "tokens_used": 7, "reservation_id": id,
        "request_id": reply.header("x-keyward-request-id"),
    });
    let answer = api.post("/v1/record", &record.to_string()).await.good(200);
    assert_eq!((&answer["reservation"], &answer["limits"][0]["used"]), (&"settled".into(), &7.into()));
}

#[tokio::test]
async fn a_limit_is_named_with_the_time_to_wait() {
    let api = Api::open().await;
    let id = api.ask_proxied(ROUTE, &[KEY]).await.header("x-keyward-key-id").to_owned();
    let limits = r#"{"limits":[{"unit":"tokens","window":"1min","limit":100}]}"#;
    api.put(&format!("/v1/keys/{id}"), limits).await.good(201);
    api.record(&id, 101).await.good(200);
    let reply = api.ask_proxied(ROUTE, &[KEY]).await;
    assert_eq!(reply.decision(), (429, "deny", "RATE_LIMIT_EXCEEDED"));
    assert!((1..=61).contains(&reply.header("retry-after").parse().unwrap()));
    assert_eq!(reply.json()["error"]["type"], "rate_limit_error");
    assert!(reply.header("ratelimit").contains("r=0"), "{:?}", reply.headers);
}

#[tokio::test]
async fn an_id_of_a_request_is_taken_from_the_header_that_is_named_and_from_a_trusted_proxy_alone() {
    let named = [KEY, ("x-request-id", "r-7")];
    let id = async |api: &Api, peer: &str| {
        api.ask_from(peer, "GET", ROUTE, &named).await.header("x-keyward-request-id").to_owned()
    };
    let api = Api::authorizing("request_id_header = \"X-Request-Id\"").await;
    assert_eq!(id(&api, "127.0.0.1").await, "r-7");
    assert_ne!(id(&api, "192.0.2.1").await, "r-7");
    assert_ne!(id(&Api::open().await, "127.0.0.1").await, "r-7", "no header is named: a client could set it");
}

/// What the day of a key holds: requests, tokens, refused requests.
async fn used(api: &Api, id: &str) -> [u64; 3] {
    let usage = api.get(&format!("/v1/usage?key={id}")).await.good(200);
    ["requests", "tokens", "refused"].map(|name| usage["total"][name].as_u64().unwrap())
}

fn completing(id: &str, key_id: &str, tokens: u64) -> String {
    serde_json::json!({
        "request_id": id, "key_id": key_id, "endpoint": "/v1/chat", "source_ip": "127.0.0.1", "tokens_used": tokens,
    })
    .to_string()
}

#[tokio::test]
async fn an_observed_request_is_counted_at_once_and_its_record_counts_nothing_twice() {
    let api = Api::open().await;
    let id = api.ask_proxied(ROUTE, &[KEY]).await.header("x-keyward-key-id").to_owned();
    let limits = r#"{"limits":[{"unit":"requests","window":"1min","limit":3}]}"#;
    api.put(&format!("/v1/keys/{id}"), limits).await.good(201);
    let observed = api.ask_proxied("/v1/authorize?observe", &[KEY]).await;
    assert_eq!(observed.decision(), (200, "allow", "NONE"));
    assert_eq!(used(&api, &id).await, [1, 0, 0], "counted before anybody reports it");
    let request = observed.header("x-keyward-request-id");
    let record = completing(request, &id, 7);
    let answer = api.post("/v1/record", &record).await.good(200);
    assert_eq!((&answer["allowed"], answer.get("reservation")), (&true.into(), None), "{answer}");
    assert_eq!(api.post("/v1/record", &record).await.good(200), answer, "a retry gets the same answer");
    assert_eq!(used(&api, &id).await, [1, 7, 0], "what it used is added, and no request");
    let requests = async || {
        let standing = api.get(&format!("/v1/limits/key:{id}")).await.good(200);
        let limits = standing["limits"].as_array().unwrap();
        limits.iter().find(|limit| limit["unit"] == "requests").unwrap()["used"].as_u64().unwrap()
    };
    assert_eq!(requests().await, 1);
    api.post("/v1/record", &completing("r-2", &id, 1)).await.good(200);
    assert_eq!((requests().await, used(&api, &id).await), (2, [2, 8, 0]), "another id is another request");
    assert_eq!(api.ask_proxied("/v1/authorize?observe", &[KEY]).await.status, 200);
    let refused = api.ask_proxied("/v1/authorize?observe", &[KEY]).await;
    assert_eq!(refused.decision(), (429, "deny", "RATE_LIMIT_EXCEEDED"));
    assert_eq!(
        (requests().await, used(&api, &id).await),
        (3, [3, 8, 1]),
        "what was refused has used nothing"
    );
}

#[tokio::test]
async fn an_observation_teaches_neither_success_nor_failure_and_its_record_does() {
    let api = Api::authorizing("observe = true").await;
    let observed = api.ask_proxied("/v1/authorize/v1/chat", &[KEY, ("user-agent", "curl/8")]).await;
    let id = observed.header("x-keyward-key-id").to_owned();
    let profile = async || {
        let subject = crate::domain::subject::Subject::key(&id);
        let seen = api.engine.subjects().view(&subject, api.engine.now()).await.unwrap();
        seen.and_then(|seen| seen.profile).unwrap()
    };
    let seen = profile().await;
    assert_eq!((seen.requests, seen.endpoints.len(), seen.outcomes), (1, 1, Default::default()));
    let request = observed.header("x-keyward-request-id");
    api.post("/v1/record", &completing(request, &id, 7)).await.good(200);
    let seen = profile().await;
    assert_eq!((seen.requests, seen.endpoints.len()), (1, 1), "the request was learned before");
    assert_ne!(seen.outcomes.success, Default::default());
}

#[tokio::test]
async fn a_query_that_is_the_clients_sets_no_option() {
    let api = Api::open().await;
    for query in ["without_key=allow", "observe=false", "a=1"] {
        let passed_on = format!("/v1/authorize?{query}");
        let named = format!("/hello?{query}");
        for header in ["x-forwarded-uri", "x-original-uri"] {
            let reply = api.ask_proxied(&passed_on, &[(header, named.as_str())]).await;
            assert_eq!(reply.decision(), (503, "misconfigured", "OPTION_UNKNOWN"), "{query}");
        }
    }
    let own = api.ask_proxied("/v1/authorize?without_key=allow", &[("x-forwarded-uri", "/hello?a=1")]).await;
    assert_eq!(own.status, 200);
}
