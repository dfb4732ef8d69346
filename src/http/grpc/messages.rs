//! The messages of the services, as far as they are read and written. Numbers of fields are those of Envoy's API v3
//! (`envoy/service/auth/v3`, `envoy/service/ratelimit/v3`, `envoy/config/core/v3`), `google/rpc/status.proto`,
//! `google/protobuf` and `grpc/health/v1`. What is not listed is skipped.

use std::collections::HashMap;

use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub(in crate::http) attributes: Option<AttributeContext>,
}

/// What is known of a request, and who sends it.
#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct AttributeContext {
    #[prost(message, optional, tag = "1")]
    pub(in crate::http) source: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub(in crate::http) request: Option<Request>,
    /// Said by the configuration of the proxy, and by no client.
    #[prost(map = "string, string", tag = "10")]
    pub(in crate::http) context_extensions: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct Peer {
    #[prost(message, optional, tag = "1")]
    pub(in crate::http) address: Option<Address>,
}

/// `envoy.config.core.v3.Address`; a pipe and an internal address are skipped.
#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct Address {
    #[prost(message, optional, tag = "1")]
    pub(in crate::http) socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct SocketAddress {
    #[prost(string, tag = "2")]
    pub(in crate::http) address: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct Request {
    #[prost(message, optional, tag = "2")]
    pub(in crate::http) http: Option<HttpRequest>,
}

/// The request of a client.
#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct HttpRequest {
    #[prost(string, tag = "2")]
    pub(in crate::http) method: String,
    /// Names in lower case; values of one name joined by commas.
    #[prost(map = "string, string", tag = "3")]
    pub(in crate::http) headers: HashMap<String, String>,
    /// With its query, as it was sent.
    #[prost(string, tag = "4")]
    pub(in crate::http) path: String,
    /// In place of `headers` with Envoy's `encode_raw_headers`.
    #[prost(message, optional, tag = "13")]
    pub(in crate::http) header_map: Option<HeaderMap>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::http) headers: Vec<HeaderValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub(in crate::http) key: String,
    #[prost(string, tag = "2")]
    pub(in crate::http) value: String,
    /// In place of `value`.
    #[prost(bytes = "vec", tag = "3")]
    pub(in crate::http) raw_value: Vec<u8>,
}

/// Without an action, the header takes the place of one of the same name.
#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub(in crate::http) header: Option<HeaderValue>,
    /// `HeaderAppendAction`: [`OVERWRITE`].
    #[prost(int32, tag = "3")]
    pub(in crate::http) append_action: i32,
    #[prost(bool, tag = "4")]
    pub(in crate::http) keep_empty_value: bool,
}

pub(in crate::http) const OVERWRITE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(in crate::http) status: Option<RpcStatus>,
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub(in crate::http) http_response: Option<HttpResponse>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(in crate::http) enum HttpResponse {
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

/// `google.rpc.Status`: codes of gRPC, 0 for good.
#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(in crate::http) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    pub(in crate::http) status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub(in crate::http) headers: Vec<HeaderValueOption>,
    #[prost(string, tag = "3")]
    pub(in crate::http) body: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub(in crate::http) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct OkHttpResponse {
    /// For the application.
    #[prost(message, repeated, tag = "2")]
    pub(in crate::http) headers: Vec<HeaderValueOption>,
    /// For the client.
    #[prost(message, repeated, tag = "6")]
    pub(in crate::http) response_headers_to_add: Vec<HeaderValueOption>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct RateLimitRequest {
    #[prost(message, repeated, tag = "2")]
    pub(in crate::http) descriptors: Vec<Descriptor>,
    #[prost(uint32, tag = "3")]
    pub(in crate::http) hits_addend: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::http) entries: Vec<Entry>,
    /// In place of that of the request.
    #[prost(message, optional, tag = "3")]
    pub(in crate::http) hits_addend: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct Entry {
    #[prost(string, tag = "1")]
    pub(in crate::http) key: String,
    #[prost(string, tag = "2")]
    pub(in crate::http) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct RateLimitResponse {
    #[prost(enumeration = "Code", tag = "1")]
    pub(in crate::http) overall_code: i32,
    /// In the order of the descriptors.
    #[prost(message, repeated, tag = "2")]
    pub(in crate::http) statuses: Vec<DescriptorStatus>,
    #[prost(message, repeated, tag = "3")]
    pub(in crate::http) response_headers_to_add: Vec<HeaderValue>,
    /// For the client of a request that is over a limit.
    #[prost(bytes = "vec", tag = "5")]
    pub(in crate::http) raw_body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub(in crate::http) enum Code {
    Unknown = 0,
    Ok = 1,
    OverLimit = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct DescriptorStatus {
    #[prost(enumeration = "Code", tag = "1")]
    pub(in crate::http) code: i32,
    #[prost(message, optional, tag = "2")]
    pub(in crate::http) current_limit: Option<RateLimit>,
    #[prost(uint32, tag = "3")]
    pub(in crate::http) limit_remaining: u32,
    #[prost(message, optional, tag = "4")]
    pub(in crate::http) duration_until_reset: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct RateLimit {
    #[prost(uint32, tag = "1")]
    pub(in crate::http) requests_per_unit: u32,
    /// 1 second, 2 minute, 3 hour, 4 day, 5 month; 0 where the window is none of these.
    #[prost(int32, tag = "2")]
    pub(in crate::http) unit: i32,
    #[prost(string, tag = "3")]
    pub(in crate::http) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct Duration {
    #[prost(int64, tag = "1")]
    pub(in crate::http) seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(in crate::http) service: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::http) struct HealthCheckResponse {
    /// 1: it serves; 2: it does not.
    #[prost(int32, tag = "1")]
    pub(in crate::http) status: i32,
}
