//! Which host a request calls: one, and the same wherever it is said.
//!
//! It is said by the request target (an absolute form, or `:authority` of HTTP/2) and by the header `Host`. Where both
//! say it, they must agree, so that nobody between the caller and this service reads another host than we do. The port
//! does not count for whether the service answers to a host: no browser gets the owner of a name past it, and a proxy
//! or a port mapping shows callers another one than we listen on. It does count for what is the same origin.

use axum::{
    extract::Request,
    http::{HeaderMap, Version, header},
};

use crate::{
    config::{AllowedHosts, Host},
    http::error::ApiError,
};

/// A host and its port, as a request or an origin names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    /// The host that the request names.
    pub host: Host,
    /// The port, where one is named.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host` or `host:port`; `None` where it is neither. An empty port is none (RFC 3986, section 3.2.3).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (text, ""),
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = if port.is_empty() { None } else { Some(port.parse().ok().filter(|_| digits)?) };
        Some(Self { host: Host::parse(host)?, port })
    }
}

/// The host that a request calls, which must be an allowed one.
///
/// # Errors
/// [`ApiError::BadHost`] where it is missing, said twice, no host, or not the same everywhere;
/// [`ApiError::WrongHost`] where the service does not answer to it.
pub(super) fn called(request: &Request, allowed: &AllowedHosts) -> Result<Authority, ApiError> {
    let target = request.uri().authority().map(|authority| read(authority.as_str())).transpose()?;
    let called = match (target, header(request.headers())?) {
        (Some(target), Some(header)) if target != header => {
            return Err(ApiError::BadHost(
                "the Host header and the request target name different hosts; send one host",
            ));
        }
        (Some(target), None) if request.version() >= Version::HTTP_2 => target,
        (_, Some(header)) => header,
        (_, None) => return Err(ApiError::BadHost("the request has no Host header; send one")),
    };
    if allowed.contains(&called.host) { Ok(called) } else { Err(ApiError::WrongHost) }
}

fn header(headers: &HeaderMap) -> Result<Option<Authority>, ApiError> {
    let mut all = headers.get_all(header::HOST).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => read(only.to_str().unwrap_or_default()).map(Some),
        _ => Err(ApiError::BadHost("the request has more than one Host header; send one")),
    }
}

fn read(text: &str) -> Result<Authority, ApiError> {
    Authority::parse(text)
        .ok_or(ApiError::BadHost("the host that the request names is neither a name nor an address"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn ask(version: Version, target: &str, hosts: &[&str]) -> Result<String, u16> {
        let request = Request::builder().version(version).uri(target);
        let request = hosts.iter().fold(request, |request, host| request.header("host", *host));
        let called = called(&request.body(Body::empty()).unwrap(), &AllowedHosts::Loopback);
        called.map(|called| format!("{called:?}")).map_err(|error| error.into_problem().status)
    }

    #[test]
    fn http_1_names_one_host_in_one_header() {
        let ask = |hosts: &[&str]| ask(Version::HTTP_11, "/v1/bans", hosts).map(|_| 200);
        for good in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "[::1]", "localhost:", "a.localhost"]
        {
            assert_eq!(ask(&[good]), Ok(200), "{good}");
        }
        for bad in
            ["", ":8080", "localhost:x", "localhost:65536", "localhost:+80", "user@localhost", "::1", "a,b"]
        {
            assert_eq!(ask(&[bad]), Err(400), "{bad}");
        }
        for wrong in [
            "evil.example",
            "0.0.0.0",
            "0.0.0.0:8080",
            "[::]:8080",
            "192.168.1.1",
            "localhost.evil.example:80",
        ] {
            assert_eq!(ask(&[wrong]), Err(421), "{wrong}");
        }
        assert_eq!(ask(&[]), Err(400));
        assert_eq!(ask(&["localhost", "localhost"]), Err(400), "a second one, also where it says the same");
        assert_eq!(ask(&["localhost", "evil.example"]), Err(400));
    }

    #[test]
    fn an_absolute_target_counts_and_must_agree_with_the_header() {
        let ask = |target: &str, hosts: &[&str]| ask(Version::HTTP_11, target, hosts).map(|_| 200);
        assert_eq!(ask("http://localhost:8080/v1/bans", &["localhost:8080"]), Ok(200));
        assert_eq!(ask("http://evil.example/v1/bans", &["evil.example"]), Err(421));
        assert_eq!(ask("http://evil.example/v1/bans", &["localhost"]), Err(400));
        assert_eq!(ask("http://localhost/v1/bans", &["evil.example"]), Err(400));
        assert_eq!(ask("http://localhost:1/v1/bans", &["localhost:2"]), Err(400));
        assert_eq!(ask("http://user@localhost/v1/bans", &["localhost"]), Err(400));
        assert_eq!(ask("http://localhost/v1/bans", &[]), Err(400), "HTTP/1.1 needs the header all the same");
    }

    #[test]
    fn http_2_names_its_host_in_authority_and_a_header_may_only_repeat_it() {
        let ask = |target: &str, hosts: &[&str]| ask(Version::HTTP_2, target, hosts).map(|_| 200);
        assert_eq!(ask("http://localhost:8080/v1/bans", &[]), Ok(200));
        assert_eq!(ask("http://localhost:8080/v1/bans", &["localhost:8080"]), Ok(200));
        assert_eq!(ask("/v1/bans", &["localhost"]), Ok(200));
        assert_eq!(ask("http://evil.example/v1/bans", &[]), Err(421));
        assert_eq!(ask("http://localhost/v1/bans", &["evil.example"]), Err(400));
        assert_eq!(ask("/v1/bans", &[]), Err(400));
    }
}
