//! The tables of `[gateway]`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::target::Target;
use crate::{
    domain::address,
    outbound::OutboundSettings,
    settings::{Secret, SettingError},
};

/// `[gateway]`, after all layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "documented where the defaults are, in config/default.toml")]
pub struct GatewaySettings {
    pub listen: SocketAddr,
    pub trusted_proxies: Vec<String>,
    pub connect_timeout_ms: u64,
    pub first_byte_timeout_ms: u64,
    pub stream_first_byte_timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub deadline_ms: u64,
    pub max_attempts: u32,
    pub body_memory_mib: u32,
    pub estimate: Estimate,
    pub output_tokens: u64,
    pub default_model: String,
    pub cache_mib: u32,
    pub cache_ttl_seconds: u64,
    pub cache_projects: Vec<String>,
    pub upstreams: Vec<UpstreamSettings>,
    pub routes: Vec<RouteSettings>,
    pub aliases: Vec<Alias>,
    pub models: Vec<ModelSettings>,
}

impl GatewaySettings {
    /// Whether there is anything to send requests to: without an upstream nothing listens.
    pub fn is_on(&self) -> bool {
        !self.upstreams.is_empty()
    }

    /// The proxies whose word on the client's address is taken. Those that cannot be read were refused before.
    pub fn proxies(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|text| address::parse_network(text).ok()).collect()
    }
}

/// How the tokens of a prompt are estimated from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Estimate {
    /// By what earlier requests of the key to the model used per byte; as `strict` until there are enough of them.
    Learned,
    /// A token per byte, which no text exceeds.
    Strict,
}

/// Which interface an upstream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Chat completions, responses, embeddings: OpenAI's, and of many that are compatible.
    Openai,
    /// Messages, as Anthropic has them.
    Anthropic,
}

impl Dialect {
    /// The name in settings and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// The header in which an upstream takes its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthHeader {
    /// `Authorization: Bearer <key>`, as OpenAI has it.
    Bearer,
    /// `x-api-key: <key>`, as Anthropic has it.
    XApiKey,
    /// `api-key: <key>`, as Azure has it.
    ApiKey,
}

/// One entry of `[[gateway.upstreams]]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSettings {
    /// What routes, metrics and events call it: 1 to 64 letters, digits, `-`, `_` or `.`.
    pub name: String,
    /// The interface that it has.
    pub dialect: Dialect,
    /// Where it is, as the provider's own SDK takes it: with `/v1` for OpenAI, without for Anthropic.
    pub base_url: String,
    /// Where its key is; none for one that asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// The header of its key; by default that of its dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthHeader>,
    /// Networks that it may be in although they are not public.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// Certificates of the authorities to trust in place of the system's, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether it bills a whole answer although its client left in the middle.
    #[serde(default = "yes")]
    pub bills_after_cancel: bool,
}

fn yes() -> bool {
    true
}

impl UpstreamSettings {
    /// The header that its key goes into.
    pub fn auth_header(&self) -> AuthHeader {
        self.auth.unwrap_or(match self.dialect {
            Dialect::Openai => AuthHeader::Bearer,
            Dialect::Anthropic => AuthHeader::XApiKey,
        })
    }

    /// How it may be connected to.
    ///
    /// # Errors
    /// The network of `allow_networks` that is none.
    pub fn outbound(&self, connect_timeout: Duration) -> Result<OutboundSettings, SettingError> {
        let network = |(n, text): (usize, &String)| {
            address::parse_network(text)
                .map_err(|error| SettingError::new(format!("allow_networks[{n}]"), error.to_string()))
        };
        Ok(OutboundSettings {
            allow_networks: self.allow_networks.iter().enumerate().map(network).collect::<Result<_, _>>()?,
            ca_file: self.ca_file.clone(),
            client_certificate_file: None,
            client_key_file: None,
            timeout: connect_timeout,
        })
    }
}

/// One entry of `[[gateway.routes]]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// The models that it is for: a name, or a pattern such as `gpt-4.1*`.
    pub model: String,
    /// Where their requests go; each key always to the same of them, by their weights.
    pub upstreams: Vec<Target>,
    /// Where they go when that fails, in this order.
    #[serde(default)]
    pub fallback: Vec<Target>,
}

/// One entry of `aliases`: a name that stands for a model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// What clients ask for.
    pub name: String,
    /// The model that they get.
    pub model: String,
}

/// One entry of `[[gateway.models]]`: how much a model takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// The models that it is about: a name, or a pattern such as `gpt-4.1*`.
    pub model: String,
    /// Most tokens of prompt and answer together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Most tokens of an answer, reserved where the request names no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
}
