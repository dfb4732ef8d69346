//! Asks one upstream for its models, as `check-config --send-test` does: whether it can be reached, and takes its key.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method,
    header::{HeaderMap, HeaderValue},
};

use super::{
    settings::{Dialect, GatewaySettings},
    upstream::Upstream,
};
use crate::{clock, settings::SettingError};

/// How long an upstream may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why an upstream did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It cannot be asked with these settings.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// It gave no answer.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// It answered with an error.
    #[error("answered {status}: {}", hint(*status))]
    Refused {
        /// The status of the answer, from 300 on.
        status: u16,
    },
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "it refuses the key; correct api_key",
        404 => "there is nothing of that name; base_url must be as the provider's own SDK takes it",
        _ => "it can be reached, and did not list its models",
    }
}

/// Asks the upstream of this name for its models; `None` where there is none of this name.
pub async fn probe(settings: &GatewaySettings, name: &str) -> Option<Result<(), ProbeError>> {
    let upstream = settings.upstreams.iter().find(|upstream| upstream.name == name)?;
    let (path, mut headers) = (path(upstream.dialect), HeaderMap::new());
    if upstream.dialect == Dialect::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    let opened = Upstream::open(upstream, Duration::from_millis(settings.connect_timeout_ms));
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return Some(Err(error.within(&format!("gateway.upstreams.{name}")).into())),
    };
    let asked = opened.send(Method::GET, (path, None), headers, Bytes::new());
    Some(match clock::timeout(PATIENCE, asked).await {
        Ok(Ok(response)) if response.status < 300 => Ok(()),
        Ok(Ok(response)) => Err(ProbeError::Refused { status: response.status }),
        Ok(Err(error)) => Err(ProbeError::NoAnswer(causes(&error))),
        Err(_) => Err(ProbeError::NoAnswer(format!("within {} s", PATIENCE.as_secs()))),
    })
}

fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Openai => "/models",
        Dialect::Anthropic => "/v1/models",
    }
}

/// An error with those that led to it, on one line.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
