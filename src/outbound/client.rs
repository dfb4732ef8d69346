//! Requests to other services: to allowed addresses only, without redirects, without the environment's proxy, with
//! bounded times and bodies; and what their answers mean.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Certificate, Client, Identity, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::HeaderMap,
    redirect::Policy,
};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{Common, Failure, Guard};

/// Most of an answer that is read: a thousand results of Elasticsearch, each with a long reason.
const MOST_ANSWER: usize = 1024 * 1024;
/// Most of an answer that is shown.
const MOST_SHOWN: usize = 300;
const CONNECT: Duration = Duration::from_secs(5);

/// Sends requests to one service.
#[derive(Clone)]
pub struct HttpClient {
    client: Client,
    url: Url,
    /// Secrets that are sent in bodies.
    hidden: Vec<Zeroizing<String>>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// For how long it asks to be left alone (`Retry-After`).
    pub after: Option<Duration>,
    /// Its body, as far as it was read.
    pub body: Vec<u8>,
    /// Whether that is all of it: it neither broke off nor was longer than is read.
    pub whole: bool,
}

impl Answer {
    /// Whether its status is in the 200s.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether its body is longer than is read.
    pub fn is_too_long(&self) -> bool {
        !self.whole && self.body.len() >= MOST_ANSWER
    }

    /// Its body, if it is whole and is such a JSON object. (Serde alone would take an array for one.)
    pub fn object<T: DeserializeOwned>(&self) -> Option<T> {
        let is_object = self.whole && self.body.trim_ascii_start().starts_with(b"{");
        if is_object { serde_json::from_slice(&self.body).ok() } else { None }
    }

    /// In a line, for people.
    pub fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(MOST_SHOWN)]);
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (status, text) = (self.status, text.trim());
        if text.is_empty() { format!("answered {status}") } else { format!("answered {status}: {text}") }
    }

    /// What it means, as far as its status tells.
    ///
    /// # Errors
    /// When its status is not in the 200s.
    pub fn judged(self) -> Result<Self, Failure> {
        let (why, after) = (self.shown(), self.after);
        match self.status {
            200..=299 => Ok(self),
            300..=399 => {
                Err(Failure::Denied(format!("{why}: redirects are not followed, name the final URL")))
            }
            400 | 413 | 415 | 422 => Err(Failure::Refused(why)),
            408 | 425 | 429 | 503 => Err(Failure::Busy { why, after }),
            400..=499 => Err(Failure::Denied(why)),
            _ if after.is_some() => Err(Failure::Busy { why, after }),
            _ => Err(Failure::Broken(why)),
        }
    }
}

impl HttpClient {
    /// For a URL that may be connected to.
    ///
    /// # Errors
    /// The setting that is wrong (`url`, or one about certificates) and the hint; says nothing of what is in the URL
    /// but its host.
    pub fn new(url: &str, common: &Common) -> Result<Self, (&'static str, String)> {
        let url = check_url(url, common)?;
        let guard = Guard { networks: common.allow_networks.clone(), plaintext: url.scheme() == "http" };
        // One provider for the whole process; that another call came first is no failure.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT.min(common.timeout))
            .timeout(common.timeout)
            .dns_resolver(Arc::new(Guarded(guard)))
            .user_agent(concat!("keyward/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &common.ca_file {
            let pem = read("ca_file", path)?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|_| ("ca_file", "must hold certificates in PEM".to_owned()))?;
            builder = builder.tls_certs_only(certificates);
        }
        if let (Some(certificate), Some(key)) = (&common.client_certificate_file, &common.client_key_file) {
            let mut pem = read("client_certificate_file", certificate)?;
            pem.push(b'\n');
            pem.extend(read("client_key_file", key)?);
            let identity = Identity::from_pem(&pem)
                .map_err(|_| ("client_key_file", "and client_certificate_file must hold PEM".to_owned()))?;
            builder = builder.identity(identity);
        }
        let client =
            builder.build().map_err(|error| ("ca_file", format!("cannot be used: {}", describe(error))))?;
        Ok(Self { client, url, hidden: Vec::new() })
    }

    /// The same; `secret`, which bodies hold, is hidden where an answer repeats it.
    pub fn hiding(mut self, secret: &str) -> Self {
        self.hidden.push(Zeroizing::new(secret.to_owned()));
        self
    }

    /// The same, with a parameter added to its URL.
    pub fn with_parameter(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Sends a POST to the URL with `path` added.
    ///
    /// # Errors
    /// When it was not answered in the 200s; what the answer means.
    pub async fn post(&self, path: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, Failure> {
        self.exchange(path, headers, body).await?.judged()
    }

    /// The same for who reads answers of every status.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn exchange(&self, path: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, Failure> {
        let mut url = self.url.clone();
        if !path.is_empty() {
            let joined = format!("{}{path}", url.path().trim_end_matches('/'));
            url.set_path(&joined);
        }
        let host = host_of(&url);
        let mut hidden = secrets_in(&self.url, &url, &headers);
        hidden.extend(self.hidden.iter().map(|secret| secret.to_string()));
        let sent = self.client.post(url).headers(headers).body(body).send().await;
        let mut response =
            sent.map_err(|error| Failure::Unreachable(format!("{host}: {}", describe(error))))?;
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = after.and_then(retry_after);
        let mut answer = Answer { status, after, body: Vec::new(), whole: false };
        while answer.body.len() < MOST_ANSWER {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = MOST_ANSWER - answer.body.len();
                    answer.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                Ok(None) => {
                    answer.whole = true;
                    break;
                }
                // The status says that it was taken; who needs the body sees that it is not whole.
                Err(_) if answer.is_success() => break,
                Err(error) => return Err(Failure::Unreachable(format!("{host}: {}", describe(error)))),
            }
        }
        hide(&hidden, &mut answer.body);
        Ok(answer)
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110), which is as far away as it is from the clock's now.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_millisecond();
    u64::try_from(date - crate::clock::wall()).ok().map(Duration::from_millis)
}

fn host_of(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Shorter ones are no secrets, and would hide half of what is said.
const SHORTEST_SECRET: usize = 8;

/// What must not come back to us by an answer that repeats the request: sensitive headers, every part of the URL that is
/// configured, and of what we add to it what looks like a secret.
fn secrets_in(configured: &Url, url: &Url, headers: &HeaderMap) -> Vec<String> {
    let sensitive = headers.values().filter(|value| value.is_sensitive()).filter_map(|v| v.to_str().ok());
    let words = sensitive.flat_map(str::split_whitespace).map(str::to_owned);
    let added = url.path_segments().into_iter().flatten().filter(|s| s.bytes().any(|b| b.is_ascii_digit()));
    let segments = configured.path_segments().into_iter().flatten().chain(added);
    let query = url.query_pairs().map(|(_, value)| value.into_owned());
    let all = words.chain(segments.map(str::to_owned)).chain(query);
    all.filter(|secret| secret.len() >= SHORTEST_SECRET).collect()
}

fn hide(secrets: &[String], body: &mut Vec<u8>) {
    for secret in secrets {
        // An answer may spell it in capitals. ASCII, so that places in both texts are the same.
        let (text, wanted) = (String::from_utf8_lossy(body), secret.to_ascii_lowercase());
        let lower = text.to_ascii_lowercase();
        let places: Vec<usize> = lower.match_indices(&wanted).map(|(place, _)| place).collect();
        if places.is_empty() {
            continue;
        }
        let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
        for place in places {
            shown.push_str(&text[done..place]);
            shown.push_str("***");
            done = place + secret.len();
        }
        shown.push_str(&text[done..]);
        *body = shown.into_bytes();
    }
}

/// The whole chain of causes, without the URL, which may be a secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if text.contains("UnknownIssuer") {
        text.push_str("; name the authority of its certificate in ca_file");
    }
    text
}

fn check_url(url: &str, common: &Common) -> Result<Url, (&'static str, String)> {
    let wrong = |hint: &str| ("url", hint.to_owned());
    let url = Url::parse(url.trim()).map_err(|_| wrong("must be a URL such as https://siem.example/hook"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("must begin with https:// (or http:// within allow_networks)"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold a user or password; there are settings for what is secret"));
    }
    let guard = Guard { networks: common.allow_networks.clone(), plaintext: url.scheme() == "http" };
    // A host that is an address never meets the resolver.
    let host = url.host_str().unwrap_or_default();
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        guard
            .check(address)
            .map_err(|why| ("url", format!("leads to an address that is not allowed: {why}")))?;
    }
    if guard.plaintext && guard.networks.is_empty() {
        return Err(wrong("must begin with https://; http:// is for networks that allow_networks names"));
    }
    Ok(url)
}

fn read(setting: &'static str, path: &std::path::Path) -> Result<Vec<u8>, (&'static str, String)> {
    std::fs::read(path)
        .map_err(|error| (setting, format!("cannot be read: {}: {}", path.display(), error.kind())))
}

/// Resolves names to the addresses that are allowed.
struct Guarded(Guard);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let mut refused = None;
            let mut allowed = Vec::with_capacity(found.len());
            for address in found {
                match guard.check(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(why) if allowed.is_empty() => Err(why.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_repeats_of_our_secrets_is_hidden() {
        let configured = Url::parse("https://hooks.example/hooks/wordsecret?key=query-secret&a=b").unwrap();
        let url = configured.join("/hooks/wordsecret/answers/T0K3N12345?key=query-secret").unwrap();
        let mut headers = HeaderMap::new();
        let mut value = reqwest::header::HeaderValue::from_static("Bearer very-secret-7731");
        value.set_sensitive(true);
        headers.insert("authorization", value);
        let secrets = secrets_in(&configured, &url, &headers);
        let said = "B\u{e9}arer very-secret-7731 to /hooks/WORDSECRET/T0K3N12345?key=query-secret, /hooks/wordsecret";
        let mut body = said.as_bytes().to_vec();
        hide(&secrets, &mut body);
        assert_eq!(String::from_utf8(body).unwrap(), "B\u{e9}arer *** to /hooks/***/***?key=***, /hooks/***");
    }

    #[test]
    fn an_answer_says_whether_to_wait_to_park_or_to_correct() {
        let of = |status, after| Answer { status, after, body: b"no\r\nway".to_vec(), whole: true }.judged();
        let soon = Some(Duration::from_secs(7));
        assert_eq!(of(202, None).unwrap().shown(), "answered 202: no  way");
        assert!(matches!(of(301, None), Err(Failure::Denied(_))));
        assert!(matches!(of(400, None), Err(Failure::Refused(_))));
        assert!(matches!(of(401, None), Err(Failure::Denied(_))));
        assert!(matches!(of(410, None), Err(Failure::Denied(_))));
        assert_eq!(of(429, soon), Err(Failure::Busy { why: "answered 429: no  way".into(), after: soon }));
        assert!(matches!(of(500, None), Err(Failure::Broken(_))));
        assert!(matches!(of(502, soon), Err(Failure::Busy { .. })));
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        assert!(retry_after("Fri, 31 Dec 2100 23:59:59 GMT").unwrap() > Duration::from_secs(3_600));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(retry_after("soon"), None);
    }
}
