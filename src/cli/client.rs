//! Asking a running service, over the same HTTP API as everybody else.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;

use super::{Failure, code, output::plain};

/// How long an answer may take. Streams have no end, so it does not hold for them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which service, and with which right.
#[derive(Debug, Clone, Args)]
pub(super) struct Service {
    /// The base URL of the service.
    #[arg(long, env = "KEYWARD_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub url: String,
    /// Token. In the environment it is not seen by other users of this machine; on the command line it is.
    #[arg(long, env = "KEYWARD_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Print JSON as it came.
    #[arg(long)]
    pub json: bool,
}

/// A connection to a service.
pub(super) struct Connection {
    client: Client,
    base: Url,
    token: Option<String>,
}

/// What a service says when it does not do what was asked.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

impl Service {
    /// Prepares to ask. Nothing is sent yet.
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        let base = Url::parse(&self.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(base) = base else {
            return Err(Failure::new(
                code::USAGE,
                "--url (KEYWARD_URL) must be a URL such as http://127.0.0.1:8080",
            ));
        };
        // One provider for the whole process; that another call came first is no failure.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder().no_proxy().redirect(Policy::none()).connect_timeout(PATIENCE);
        if base.scheme() == "http" {
            // Certificates of the system are not needed, and in a small container there are none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| Failure::new(code::SOFTWARE, describe(error)))?;
        Ok(Connection { client, base, token: self.token.clone() })
    }
}

impl Connection {
    /// A request to a path of several segments, each of which is encoded.
    pub(super) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and reads the JSON that answers it.
    pub(super) async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = self.send(request.timeout(PATIENCE)).await?;
        response.json().await.map_err(|error| Failure::new(code::UNAVAILABLE, describe(error)))
    }

    /// Sends a request and reads the text that answers it.
    pub(super) async fn text(&self, request: RequestBuilder) -> Result<String, Failure> {
        let response = self.send(request.timeout(PATIENCE)).await?;
        response.text().await.map_err(|error| Failure::new(code::UNAVAILABLE, describe(error)))
    }

    /// Sends a request that is answered by its status alone.
    pub(super) async fn done(&self, request: RequestBuilder) -> Result<(), Failure> {
        self.send(request.timeout(PATIENCE)).await.map(drop)
    }

    /// Reads a list to its end, and hands on each page.
    pub(super) async fn each_page(
        &self,
        segments: &[&str],
        query: &[(&str, &str)],
        mut take: impl FnMut(&[Value]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut cursor = None::<String>;
        loop {
            let from: Vec<_> = cursor.iter().map(|cursor| ("cursor", cursor)).collect();
            let page = self.json(self.request(Method::GET, segments).query(query).query(&from)).await?;
            take(page["items"].as_array().map(Vec::as_slice).unwrap_or_default())?;
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Sends a request; an answer that is no success is a failure.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() { Ok(response) } else { Err(refused(response).await) }
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        let text = format!(
            "no service answers at {}: {}; start one with `keyward serve`, or name another with --url",
            self.base,
            describe(error)
        );
        Failure::new(code::UNAVAILABLE, text)
    }
}

async fn refused(response: Response) -> Failure {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let text = match serde_json::from_slice::<Problem>(&body) {
        // The detail names each field that is wrong.
        Ok(problem) => plain(&format!("{}: {}", problem.title, problem.detail)),
        Err(_) => format!("the service answered {status}"),
    };
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => code::NO_PERMISSION,
        StatusCode::NOT_FOUND => code::NO_INPUT,
        status if status.is_client_error() => code::DATA,
        _ => code::UNAVAILABLE,
    };
    Failure::new(code, text)
}

/// The whole chain of causes; reqwest shows the first alone, which says little. Without the URL: its path names a
/// subject, and somebody may have taken a secret for one.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
