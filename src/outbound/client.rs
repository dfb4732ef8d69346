//! HTTP requests to one service: to allowed addresses only, without redirects, without the environment's proxy, with
//! bounded times and bodies.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Certificate, Client, ClientBuilder, Identity, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::HeaderMap,
    redirect::Policy,
};
use zeroize::Zeroizing;

use super::{
    error::OutboundError,
    guard::AddressGuard,
    redact::{redact, secrets_in},
    response::{HttpResponse, MAX_BODY, retry_after},
    settings::{OutboundSettings, read_file},
};
use crate::settings::SettingError;

/// How long one address has to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests to one service.
#[derive(Clone)]
pub struct HttpClient {
    client: Client,
    url: Url,
    /// Secrets that are sent in bodies.
    secrets: Vec<Zeroizing<String>>,
}

impl HttpClient {
    /// A client for a URL that may be connected to.
    ///
    /// # Errors
    /// The setting that is wrong: `url`, or one about certificates. Says nothing of what is in the URL but its host.
    pub fn new(url: &str, settings: &OutboundSettings) -> Result<Self, SettingError> {
        let (url, guard) = check_url(url, settings)?;
        // One provider serves the whole process; that another call came first is no failure.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .no_proxy()
            .no_gzip()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout))
            .timeout(settings.timeout)
            .dns_resolver(Arc::new(GuardedResolver(guard)))
            .user_agent(concat!("keyward/", env!("CARGO_PKG_VERSION")));
        let client = with_certificates(builder, settings)?
            .build()
            .map_err(|error| SettingError::new("ca_file", "cannot be used").because(error.without_url()))?;
        Ok(Self { client, url, secrets: Vec::new() })
    }

    /// The same client; `secret`, which bodies hold, is hidden where an answer repeats it.
    pub fn redacting(mut self, secret: &str) -> Self {
        self.secrets.push(Zeroizing::new(secret.to_owned()));
        self
    }

    /// The same client, with a parameter added to its URL.
    pub fn with_parameter(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Sends a POST to the URL with `path` added, and reads the answer whatever its status is.
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn post(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<HttpResponse, OutboundError> {
        let mut url = self.url.clone();
        if !path.is_empty() {
            let joined = format!("{}{path}", url.path().trim_end_matches('/'));
            url.set_path(&joined);
        }
        let host = host_of(&url);
        let mut secrets = secrets_in(&self.url, &url, &headers);
        secrets.extend(self.secrets.iter().map(|secret| secret.to_string()));
        let sent = self.client.post(url).headers(headers).body(body).send().await;
        let read = match sent {
            Ok(response) => read(response).await,
            Err(error) => Err(error),
        };
        let mut response = read.map_err(|error| OutboundError::of_http(&host, error))?;
        redact(&secrets, &mut response.body);
        Ok(response)
    }
}

/// Reads an answer. A body that breaks off is an error unless the status is in the 200s: the service took the request,
/// and who needs the body sees that it is not complete.
async fn read(mut response: Response) -> Result<HttpResponse, reqwest::Error> {
    let wait = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let mut read = HttpResponse {
        status: response.status().as_u16(),
        retry_after: wait.and_then(retry_after),
        body: Vec::new(),
        complete: false,
    };
    while read.body.len() < MAX_BODY {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = MAX_BODY - read.body.len();
                read.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(None) => {
                read.complete = true;
                break;
            }
            Err(_) if read.is_success() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// The host and the port of a URL, for people.
pub(super) fn host_of(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// The same builder with whom to trust and who we are.
pub(super) fn with_certificates(
    mut builder: ClientBuilder,
    settings: &OutboundSettings,
) -> Result<ClientBuilder, SettingError> {
    if let Some(path) = &settings.ca_file {
        let pem = read_file("ca_file", path)?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .map_err(|error| SettingError::new("ca_file", "must hold certificates in PEM").because(error))?;
        builder = builder.tls_certs_only(certificates);
    }
    if let (Some(certificate), Some(key)) = (&settings.client_certificate_file, &settings.client_key_file) {
        let mut pem = read_file("client_certificate_file", certificate)?;
        pem.push(b'\n');
        pem.extend(read_file("client_key_file", key)?);
        // The error might show a part of the key: it is left out.
        let identity = Identity::from_pem(&pem)
            .map_err(|_| SettingError::new("client_key_file", "and client_certificate_file must hold PEM"))?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}

/// Reads a URL and who may be connected to by it.
///
/// # Errors
/// The setting `url`. Says nothing of what is in the URL.
pub fn check_url(url: &str, settings: &OutboundSettings) -> Result<(Url, AddressGuard), SettingError> {
    let wrong = |hint: &str| SettingError::new("url", hint);
    let url = Url::parse(url.trim()).map_err(|_| wrong("must be a URL such as https://siem.example/hook"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("must begin with https:// (or http:// within allow_networks)"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold a user or password; there are settings for what is secret"));
    }
    let guard = settings.guard(url.scheme() == "http");
    // A host that is an address never meets the resolver.
    let host = url.host_str().unwrap_or_default();
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        guard.check(address).map_err(|why| wrong("leads to an address that is not allowed").because(why))?;
    }
    if guard.plaintext && guard.networks.is_empty() {
        return Err(wrong("must begin with https://; http:// is for networks that allow_networks names"));
    }
    Ok((url, guard))
}

/// Resolves names to the addresses that are allowed.
pub(super) struct GuardedResolver(pub AddressGuard);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = guard.filter(found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
