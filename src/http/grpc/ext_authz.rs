//! Envoy's external authorization: the request that Envoy describes is asked about as `/v1/authorize` is, and the
//! answer is the same, status, headers and body, in Envoy's words.
//!
//! The path and the address of the client are what Envoy says, whatever headers the client sent. Options are those of
//! `[authorize]`, and over them those that the configuration of Envoy names in `context_extensions`.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    body::to_bytes,
    http::{self, HeaderName, HeaderValue, StatusCode, Uri, request::Parts},
    response::Response,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tonic::Code;

use super::messages::{
    self, AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest,
    HttpResponse, HttpStatus, OVERWRITE, OkHttpResponse, RpcStatus,
};
use crate::{
    domain::address,
    http::{
        App,
        authorize::{self, client::Peer, original::PREFIX},
    },
};

/// What no target of a request has as it is, though some send it.
const IN_NO_TARGET: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// What the application is told; the other headers are for the client.
const FOR_APPLICATION: &str = "x-keyward-";
/// The largest body of a refusal, in bytes.
const MOST_BODY: usize = 64 * 1024;

pub(super) async fn check(app: &App, asked: CheckRequest) -> CheckResponse {
    let attributes = asked.attributes.unwrap_or_default();
    let Some(head) = head(&attributes) else { return answer(authorize::refuse_unreadable(app)).await };
    let options = attributes.context_extensions.iter();
    let options = options.map(|(name, value)| (name.as_str(), value.as_str()));
    answer(authorize::authorize_described(app, &head, options).await).await
}

/// The answer to a call without a token that it needs.
pub(super) async fn misconfigured(app: &App) -> CheckResponse {
    answer(authorize::misconfigured(app, authorize::TOKEN_REFUSED)).await
}

/// The head of the request that is described; `None` where its target cannot be read.
fn head(attributes: &AttributeContext) -> Option<Parts> {
    let http = attributes.request.as_ref()?.http.as_ref()?;
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = http.method.parse().unwrap_or_default();
    head.uri = target(&http.path)?;
    for (name, value) in headers(http) {
        // What cannot stand in a header must not hide there either: it stays as something that is no key.
        let value = HeaderValue::from_bytes(value).or_else(|_| HeaderValue::from_bytes(b"\xff"));
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value) {
            head.headers.try_append(name, value).ok()?;
        }
    }
    // Of whom Envoy does not say who it is, nothing is believed.
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    head.extensions.insert(Peer::Address(source(attributes).unwrap_or(unknown)));
    Some(head)
}

/// The target below the route.
fn target(path: &str) -> Option<Uri> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{PREFIX}{slash}{}", utf8_percent_encode(path, IN_NO_TARGET)).parse().ok()
}

/// Names and values of the headers, without those of HTTP/2 that are none (`:path`).
fn headers(http: &HttpRequest) -> impl Iterator<Item = (&str, &[u8])> {
    let joined = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let raw = header.raw_value.as_slice();
        (header.key.as_str(), if raw.is_empty() { header.value.as_bytes() } else { raw })
    });
    joined.chain(raw).filter(|(name, _)| !name.starts_with(':'))
}

/// Who sends the request: the client, as far as Envoy knows it.
fn source(attributes: &AttributeContext) -> Option<IpAddr> {
    let address = attributes.source.as_ref()?.address.as_ref()?.socket_address.as_ref()?;
    address::parse(&address.address).ok()
}

/// An answer of `/v1/authorize` in Envoy's words.
async fn answer(response: Response) -> CheckResponse {
    let (head, body) = response.into_parts();
    let headers = || head.headers.iter().filter_map(|(name, value)| option(name.as_str(), value));
    let is_for_application = |header: &HeaderValueOption| {
        header.header.as_ref().is_some_and(|h| h.key.starts_with(FOR_APPLICATION))
    };
    let (code, http_response) = if head.status == StatusCode::OK {
        let (headers, others) = headers().partition(is_for_application);
        let limits = |header: &HeaderValueOption| {
            header.header.as_ref().is_some_and(|header| header.key.starts_with("ratelimit"))
        };
        let others: Vec<HeaderValueOption> = others;
        let response_headers_to_add = others.into_iter().filter(limits).collect();
        (Code::Ok, HttpResponse::Ok(OkHttpResponse { headers, response_headers_to_add }))
    } else {
        let body = to_bytes(body, MOST_BODY).await.unwrap_or_default();
        let denied = DeniedHttpResponse {
            status: Some(HttpStatus { code: i32::from(head.status.as_u16()) }),
            headers: headers().collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        (code(head.status), HttpResponse::Denied(denied))
    };
    CheckResponse { status: Some(RpcStatus { code: code as i32 }), http_response: Some(http_response) }
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::PermissionDenied,
    }
}

fn option(name: &str, value: &HeaderValue) -> Option<HeaderValueOption> {
    let header = messages::HeaderValue {
        key: name.to_owned(),
        value: value.to_str().ok()?.to_owned(),
        raw_value: Vec::new(),
    };
    // An empty one takes the place of what the client may have sent by that name.
    Some(HeaderValueOption { header: Some(header), append_action: OVERWRITE, keep_empty_value: true })
}
