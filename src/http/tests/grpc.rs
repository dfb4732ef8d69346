//! What Envoy asks over gRPC, and what it is told.

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use prost::Message;
use tonic::Code;
use tower::ServiceExt;

use super::Api;
use crate::config::default_policy;
use crate::http::{
    Auth, Scope,
    grpc::messages::{
        self, Address, AttributeContext, CheckRequest, CheckResponse, Descriptor, Entry, HeaderMap,
        HeaderValue, HealthCheckRequest, HealthCheckResponse, HttpRequest, HttpResponse, Peer,
        RateLimitRequest, RateLimitResponse, SocketAddress,
    },
    new_token,
};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

impl Api {
    /// Calls a method; the number of the error where there is one.
    async fn rpc<A: Message + Default>(
        &self,
        method: &str,
        metadata: &[(&str, &str)],
        asked: &impl Message,
    ) -> Result<A, i32> {
        let message = asked.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let framed = [&[0], &length[..], &message].concat();
        let request =
            Request::builder().method("POST").uri(method).header("content-type", "application/grpc");
        let request = metadata.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = self.grpc.clone().oneshot(request.body(Body::from(framed)).unwrap()).await.unwrap();
        if let Some(status) = response.headers().get("grpc-status") {
            return Err(status.to_str().unwrap().parse().unwrap());
        }
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Ok(A::decode(&body[5..]).unwrap())
    }

    async fn check_of(&self, asked: &CheckRequest) -> CheckResponse {
        self.rpc(CHECK, &[], asked).await.unwrap()
    }

    async fn limited(&self, entries: &[(&str, &str)], tokens: u32) -> RateLimitResponse {
        self.rpc(LIMIT, &[], &limit(entries, tokens)).await.unwrap()
    }
}

/// A request of a client, as Envoy describes it.
fn described(path: &str, headers: &[(&str, &str)], source: &str) -> CheckRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let http = HttpRequest { method: "GET".into(), headers, path: path.into(), header_map: None };
    let address = SocketAddress { address: source.into() };
    let source = Peer { address: Some(Address { socket_address: Some(address) }) };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(source),
            request: Some(messages::Request { http: Some(http) }),
            ..AttributeContext::default()
        }),
    }
}

fn limit(entries: &[(&str, &str)], hits_addend: u32) -> RateLimitRequest {
    let entry = |(key, value): &(&str, &str)| Entry { key: (*key).into(), value: (*value).into() };
    let descriptor = Descriptor { entries: entries.iter().map(entry).collect(), hits_addend: None };
    RateLimitRequest { descriptors: vec![descriptor], hits_addend }
}

/// Status of the call and of the refusal, and the reason in its headers.
fn ruling(response: &CheckResponse) -> (i32, i32, String) {
    let code = response.status.as_ref().unwrap().code;
    let (status, headers) = match response.http_response.as_ref().unwrap() {
        HttpResponse::Ok(ok) => (200, &ok.headers),
        HttpResponse::Denied(denied) => (denied.status.as_ref().unwrap().code, &denied.headers),
    };
    let headers = headers.iter().map(|option| option.header.as_ref().unwrap());
    let reason = headers.filter(|header| header.key == "x-keyward-reason").map(|header| header.value.clone());
    (code, status, reason.collect())
}

fn of(code: Code, status: i32, reason: &str) -> (i32, i32, String) {
    (code as i32, status, reason.to_owned())
}

const KEY: (&str, &str) = ("x-api-key", "sk-1");
const CLIENT: &str = "203.0.113.7";

#[tokio::test]
async fn a_described_request_is_answered_as_authorize_answers_it() {
    let api = Api::open().await;
    let good = api.check_of(&described("/v1/chat?a=1", &[KEY], CLIENT)).await;
    assert_eq!(ruling(&good), of(Code::Ok, 200, "NONE"));
    let none = api.check_of(&described("/v1/chat", &[], CLIENT)).await;
    assert_eq!(ruling(&none), of(Code::Unauthenticated, 401, "MISSING_KEY"));
    let two = api.check_of(&described("/v1/chat?key=sk-2", &[KEY], CLIENT)).await;
    assert_eq!(ruling(&two), of(Code::PermissionDenied, 403, "AMBIGUOUS_KEY"));
    let joined = api.check_of(&described("/", &[("x-api-key", "sk-1,sk-2")], CLIENT)).await;
    assert_eq!(ruling(&joined), of(Code::PermissionDenied, 403, "AMBIGUOUS_KEY"));
    api.put("/v1/bans/ip:203.0.113.7", r#"{"duration_seconds":600,"reason":"leaked"}"#).await.good(201);
    let banned = api.check_of(&described("/v1/chat", &[KEY], CLIENT)).await;
    assert_eq!(ruling(&banned), of(Code::PermissionDenied, 403, "IP_BANNED"));
    let Some(HttpResponse::Denied(denied)) = banned.http_response else { panic!("denied") };
    assert!(denied.body.contains("permission_error"), "{}", denied.body);
}

#[tokio::test]
async fn what_the_client_says_of_itself_changes_nothing() {
    let api = Api::open().await;
    api.put("/v1/bans/ip:198.51.100.9", r#"{"duration_seconds":600,"reason":"leaked"}"#).await.good(201);
    let made_up = [KEY, ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-uri", "/v1/other?key=sk-2")];
    let banned = api.check_of(&described("/", &made_up, "198.51.100.9")).await;
    assert_eq!(ruling(&banned), of(Code::PermissionDenied, 403, "IP_BANNED"));
    let switched = api.check_of(&described("/?without_key=allow&observe", &[], CLIENT)).await;
    assert_eq!(ruling(&switched), of(Code::Unauthenticated, 401, "MISSING_KEY"));
    // A path that is none of a URI hides no key in its query.
    let odd = api.check_of(&described("/a b\\{?x=\"y\"&key=sk-2#z", &[KEY], CLIENT)).await;
    assert_eq!(ruling(&odd), of(Code::PermissionDenied, 403, "AMBIGUOUS_KEY"));
}

#[tokio::test]
async fn raw_headers_are_read_and_bytes_that_are_no_text_are_no_key() {
    let api = Api::open().await;
    let raw = |name: &str, value: &[u8]| HeaderValue {
        key: name.into(),
        value: String::new(),
        raw_value: value.to_vec(),
    };
    for (headers, wanted) in [
        (vec![raw("x-api-key", b"sk-1")], of(Code::Ok, 200, "NONE")),
        (
            vec![raw("x-api-key", b"sk-1"), raw("api-key", b"sk-2")],
            of(Code::PermissionDenied, 403, "AMBIGUOUS_KEY"),
        ),
        (vec![raw("x-api-key", b"sk\x001")], of(Code::Unauthenticated, 401, "MALFORMED_KEY")),
    ] {
        let mut asked = described("/", &[], CLIENT);
        let http = asked.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
        http.header_map = Some(HeaderMap { headers });
        assert_eq!(ruling(&api.check_of(&asked).await), wanted);
    }
}

#[tokio::test]
async fn the_configuration_of_envoy_names_options_and_a_wrong_one_is_its_mistake() {
    let api = Api::open().await;
    let with = |name: &str, value: &str| {
        let mut asked = described("/", &[], CLIENT);
        let extensions = &mut asked.attributes.as_mut().unwrap().context_extensions;
        extensions.insert(name.to_owned(), value.to_owned());
        asked
    };
    assert_eq!(ruling(&api.check_of(&with("without_key", "allow")).await), of(Code::Ok, 200, "NO_KEY"));
    let wrong = api.check_of(&with("without_keys", "allow")).await;
    assert_eq!(ruling(&wrong), of(Code::Unavailable, 503, "OPTION_UNKNOWN"));
}

#[tokio::test]
async fn a_descriptor_is_admitted_and_counted_in_one_step() {
    let api = Api::open().await;
    api.put("/v1/keys/meter", r#"{"limits":[{"unit":"tokens","window":"1min","limit":100}]}"#)
        .await
        .good(201);
    let who = [("key_id", "meter"), ("remote_address", CLIENT), ("path", "/v1/chat")];
    let first = api.limited(&who, 60).await;
    assert_eq!((first.overall_code, first.statuses[0].limit_remaining), (1, 40));
    let limit = first.statuses[0].current_limit.as_ref().unwrap();
    assert_eq!((limit.requests_per_unit, limit.unit, limit.name.as_str()), (100, 2, "1min-tokens"));
    let second = api.limited(&who, 60).await;
    assert_eq!(
        (second.overall_code, second.statuses[0].limit_remaining),
        (2, 40),
        "it is charged to nothing"
    );
    assert!(String::from_utf8(second.raw_body).unwrap().contains("RATE_LIMIT_EXCEEDED"));
    let headers: Vec<&str> =
        second.response_headers_to_add.iter().map(|header| header.key.as_str()).collect();
    assert!(headers.contains(&"retry-after") && headers.contains(&"x-keyward-reason"), "{headers:?}");
    assert_eq!(api.limited(&who, 40).await.overall_code, 1);
}

#[tokio::test]
async fn a_descriptor_that_cannot_be_read_is_an_error_of_the_call() {
    let api = Api::open().await;
    for entries in [
        &[("key_id", "meter")][..],
        &[("remote_address", CLIENT)],
        &[("key_id", "meter"), ("remote_address", "nowhere")],
        &[("key_id", "meter"), ("remote_address", CLIENT), ("colour", "red")],
    ] {
        let refused = api.rpc::<RateLimitResponse>(LIMIT, &[], &limit(entries, 1)).await;
        assert_eq!(refused.err(), Some(Code::InvalidArgument as i32), "{entries:?}");
    }
    let none = RateLimitRequest { descriptors: Vec::new(), hits_addend: 1 };
    let refused = api.rpc::<RateLimitResponse>(LIMIT, &[], &none).await;
    assert_eq!(refused.err(), Some(Code::InvalidArgument as i32));
}

#[tokio::test]
async fn where_tokens_are_configured_a_call_shows_one_that_may_record() {
    let (secret, recorder) = new_token(None, &[Scope::Record], None).unwrap();
    let (other, reader) = new_token(None, &[Scope::Read], None).unwrap();
    let auth = Auth::new(&crate::config::Auth { tokens: vec![recorder, reader] }).unwrap();
    let api = Api::with(auth, default_policy()).await;
    let (bearer, wrong) = (format!("Bearer {}", *secret), format!("Bearer {}", *other));
    let asked = described("/", &[KEY], CLIENT);
    let limited = limit(&[("key_id", "meter"), ("remote_address", CLIENT)], 1);
    for (metadata, is_good) in [
        (&[("authorization", bearer.as_str())][..], true),
        (&[("x-keyward-token", secret.as_str())], true),
        (&[], false),
        (&[("authorization", wrong.as_str())], false),
        (&[("x-keyward-token", other.as_str()), ("authorization", bearer.as_str())], false),
    ] {
        let checked: CheckResponse = api.rpc(CHECK, metadata, &asked).await.unwrap();
        let wanted =
            if is_good { of(Code::Ok, 200, "NONE") } else { of(Code::Unavailable, 503, "TOKEN_REFUSED") };
        assert_eq!(ruling(&checked), wanted);
        let counted = api.rpc::<RateLimitResponse>(LIMIT, metadata, &limited).await;
        assert_eq!(counted.is_ok(), is_good);
        assert!(is_good || counted.err() == Some(Code::Unauthenticated as i32));
    }
    let health = HealthCheckRequest { service: String::new() };
    assert_eq!(api.rpc::<HealthCheckResponse>(HEALTH, &[], &health).await.unwrap().status, 1);
}

#[tokio::test]
async fn health_is_good_of_each_service_until_it_stops() {
    let api = Api::open().await;
    let health = async |service: &str| {
        let asked = HealthCheckRequest { service: service.to_owned() };
        api.rpc::<HealthCheckResponse>(HEALTH, &[], &asked).await.map(|health| health.status)
    };
    assert_eq!(health("").await, Ok(1));
    assert_eq!(health("envoy.service.auth.v3.Authorization").await, Ok(1));
    assert_eq!(health("envoy.service.ratelimit.v3.RateLimitService").await, Ok(1));
    assert_eq!(health("another").await, Err(Code::NotFound as i32));
    api.shutdown.cancel();
    assert_eq!(health("").await, Ok(2));
    let unknown =
        api.rpc::<HealthCheckResponse>("/another/Method", &[], &HealthCheckRequest::default()).await;
    assert_eq!(unknown.err(), Some(Code::Unimplemented as i32));
}

#[tokio::test]
async fn what_a_client_makes_long_or_malformed_is_no_error_that_lets_it_pass() {
    let api = Api::open().await;
    api.put("/v1/bans/key:meter", r#"{"duration_seconds":600,"reason":"leaked"}"#).await.good(201);
    let (path, long) = (format!("/{}", "a".repeat(5_000)), "b".repeat(5_000));
    let who = [
        ("key_id", "meter"),
        ("remote_address", CLIENT),
        ("path", path.as_str()),
        ("user_agent", long.as_str()),
        ("user", long.as_str()),
        ("model", long.as_str()),
    ];
    assert_eq!(api.limited(&who, 1).await.overall_code, 2, "the ban holds");
    for key in ["", "Basic c2s6", "sk\u{1}1"] {
        let refused = api.limited(&[("key", key), ("remote_address", CLIENT)], 1).await;
        assert_eq!(refused.overall_code, 2, "{key:?}");
        assert!(String::from_utf8(refused.raw_body).unwrap().contains("MALFORMED_KEY"));
    }
}

#[tokio::test]
async fn what_a_page_of_a_browser_can_send_is_no_call() {
    let api = Api::open().await;
    for headers in [
        &[("content-type", "text/plain")][..],
        &[],
        &[("content-type", "application/grpc"), ("origin", "https://evil.example")],
    ] {
        let request =
            headers.iter().fold(Request::builder().method("POST").uri(LIMIT), |request, (name, value)| {
                request.header(*name, *value)
            });
        let response = api.grpc.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 415, "{headers:?}");
    }
}

#[tokio::test]
async fn of_a_client_whose_address_envoy_does_not_say_nothing_is_believed() {
    let api = Api::open().await;
    api.put("/v1/bans/ip:203.0.113.7", r#"{"duration_seconds":600,"reason":"leaked"}"#).await.good(201);
    let mut asked = described("/", &[KEY, ("x-forwarded-for", "203.0.113.7")], CLIENT);
    asked.attributes.as_mut().unwrap().source = None;
    assert_eq!(ruling(&api.check_of(&asked).await), of(Code::Ok, 200, "NONE"));
}
