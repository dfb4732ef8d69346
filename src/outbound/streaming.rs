//! HTTP requests whose answers are read as they come: to allowed addresses only, without redirects, without the
//! environment's proxy. How long an answer may take is said by whoever reads it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{Client, Method, Response, Url, header::HeaderMap, redirect::Policy};

use super::{
    client::{GuardedResolver, check_url, host_of, with_certificates},
    error::OutboundError,
    response::retry_after,
    settings::OutboundSettings,
};
use crate::settings::SettingError;

/// How long a connection that nobody uses is kept: less than the minute after which load balancers drop one.
const KEEP_IDLE: Duration = Duration::from_secs(50);
/// A silent connection of HTTP/2 is asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Sends requests to one service, and hands on its answers as they come.
#[derive(Clone)]
pub struct StreamClient {
    client: Client,
    url: Url,
}

/// An answer whose body is still to be read. Dropped, the request is given up.
pub struct StreamResponse {
    /// The status, from 100 to 999.
    pub status: u16,
    /// The headers of the answer; none about a compression, which is undone.
    pub headers: HeaderMap,
    host: String,
    response: Response,
}

impl StreamClient {
    /// A client for a URL that may be connected to; of the settings, `timeout` is that of a connection alone.
    ///
    /// # Errors
    /// The setting that is wrong: `url`, or one about certificates. Says nothing of what is in the URL but its host.
    pub fn new(url: &str, settings: &OutboundSettings) -> Result<Self, SettingError> {
        let (url, guard) = check_url(url, settings)?;
        // One provider serves the whole process; that another call came first is no failure.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(settings.timeout)
            .pool_idle_timeout(KEEP_IDLE)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_EVERY)
            .tcp_nodelay(true)
            .dns_resolver(Arc::new(GuardedResolver(guard)))
            .user_agent(concat!("keyward/", env!("CARGO_PKG_VERSION")));
        let client = with_certificates(builder, settings)?
            .build()
            .map_err(|error| SettingError::new("ca_file", "cannot be used").because(error.without_url()))?;
        Ok(Self { client, url })
    }

    /// Sends a request to the URL with `path` (and a query, if there is one) added; waits until the answer begins. What
    /// the query of the URL itself says stays, and comes before what another one says under the same name.
    ///
    /// # Errors
    /// Why no answer began.
    pub async fn send(
        &self,
        method: Method,
        (path, query): (&str, Option<&str>),
        headers: HeaderMap,
        body: impl Into<reqwest::Body>,
    ) -> Result<StreamResponse, OutboundError> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        let joined = joined(self.url.query(), query);
        url.set_query(joined.as_deref());
        let host = host_of(&url);
        let sent = self.client.request(method, url).headers(headers).body(body).send().await;
        let response = sent.map_err(|error| OutboundError::of_http(&host, error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(StreamResponse { status, headers, host, response })
    }
}

/// The name of a parameter of a query.
fn name(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

/// Two queries as one; of what both name, the first has the word.
fn joined(own: Option<&str>, added: Option<&str>) -> Option<String> {
    let Some(own) = own else { return added.map(str::to_owned) };
    let own: Vec<&str> = own.split('&').collect();
    let is_new = |pair: &&str| own.iter().all(|ours| name(ours) != name(pair));
    let added = added.into_iter().flat_map(|query| query.split('&')).filter(is_new);
    let all: Vec<&str> = own.iter().copied().chain(added).collect();
    (!all.is_empty()).then(|| all.join("&"))
}

impl StreamResponse {
    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    /// Why the rest did not come.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OutboundError> {
        self.response.chunk().await.map_err(|error| OutboundError::of_http(&self.host, error))
    }

    /// How long the service asks to be left alone (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        self.headers.get("retry-after")?.to_str().ok().and_then(retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_url_itself_asks_for_stays_and_has_the_word() {
        let of = |own: Option<&str>, added: Option<&str>| joined(own, added).unwrap_or_default();
        assert_eq!(of(None, None), "");
        assert_eq!(of(Some("api-version=preview"), None), "api-version=preview");
        assert_eq!(of(None, Some("beta=true")), "beta=true");
        assert_eq!(
            of(Some("api-version=preview"), Some("api-version=1&beta=true")),
            "api-version=preview&beta=true"
        );
    }
}
