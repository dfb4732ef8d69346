//! Logging in: SASL PLAIN (RFC 4616), SCRAM-SHA-256 and SCRAM-SHA-512.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    connection::BrokerConnection,
    error_code::{error_of, shown},
    messages::{
        AUTHENTICATE, AuthenticateResponse, HANDSHAKE, authenticate_request, handshake_request,
        read_handshake_response,
    },
    scram::{Scram, ScramHash},
};
use crate::{clock, forward::error::SendError};

/// Fewest bytes of a password that is hidden: a shorter one would be found in any text.
const MIN_HIDDEN: usize = 4;

/// The SASL mechanism by which we log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SaslMechanism {
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// Its name in the registry of SASL mechanisms.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we are, and how we prove it.
pub(super) struct Credentials {
    pub mechanism: SaslMechanism,
    pub username: String,
    pub password: Zeroizing<String>,
}

impl Credentials {
    /// Logs in on a new connection.
    ///
    /// # Errors
    /// [`SendErrorKind::Denied`](crate::forward::SendErrorKind::Denied) if we are not let in.
    pub(super) async fn log_in(&self, connection: &mut BrokerConnection) -> Result<(), SendError> {
        self.choose_mechanism(connection).await?;
        match self.mechanism {
            SaslMechanism::Plain => {
                let message = Zeroizing::new(format!("\0{}\0{}", self.username, self.password.as_str()));
                self.authenticate(connection, &message).await.map(drop)
            }
            SaslMechanism::ScramSha256 => self.authenticate_by_scram(connection, ScramHash::Sha256).await,
            SaslMechanism::ScramSha512 => self.authenticate_by_scram(connection, ScramHash::Sha512).await,
        }
    }

    async fn choose_mechanism(&self, connection: &mut BrokerConnection) -> Result<(), SendError> {
        let version = connection.version(HANDSHAKE)?;
        let request = handshake_request(self.mechanism.name());
        let response = connection.request(HANDSHAKE, version, &request).await?;
        let (code, known) =
            read_handshake_response(&response).map_err(|error| connection.malformed(HANDSHAKE, error))?;
        if code == 0 {
            return Ok(());
        }
        let known = shown(&known.join(", "));
        let message = format!("it has {}", if known.is_empty() { "none" } else { &known });
        Err(connection.named(error_of(code, Some(&message))))
    }

    async fn authenticate_by_scram(
        &self,
        connection: &mut BrokerConnection,
        hash: ScramHash,
    ) -> Result<(), SendError> {
        let nonce =
            nonce().map_err(|error| SendError::unreachable("random numbers are needed").because(error))?;
        let scram = Scram::new(hash, &self.username, &self.password, &nonce);
        let challenge = self.authenticate(connection, &scram.first()).await?;
        let denied = |connection: &BrokerConnection, why: &str| {
            connection.named(SendError::denied(self.mechanism.name()).detail(why))
        };
        let proof = scram.prove(&challenge).map_err(|why| denied(connection, why))?;
        let answer = self.authenticate(connection, &proof.message).await?;
        proof.check(&answer).map_err(|why| denied(connection, why))
    }

    /// Sends one step of the mechanism, and returns the broker's.
    async fn authenticate(&self, connection: &mut BrokerConnection, text: &str) -> Result<String, SendError> {
        let version = connection.version(AUTHENTICATE)?;
        let request = Zeroizing::new(authenticate_request(text.as_bytes()));
        let response = connection.request(AUTHENTICATE, version, &request).await?;
        let response = AuthenticateResponse::read(&response, version)
            .map_err(|error| connection.malformed(AUTHENTICATE, error))?;
        if response.error != 0 {
            let message = response.message.map(|message| self.without_password(message));
            return Err(connection.named(error_of(response.error, message.as_deref())));
        }
        // Logs in anew well before the time is up.
        let lifetime = u64::try_from(response.lifetime).ok().filter(|lifetime| *lifetime > 0);
        connection.session_ends =
            lifetime.map(|lifetime| clock::instant() + Duration::from_millis(lifetime) * 4 / 5);
        String::from_utf8(response.data).map_err(|error| {
            let error = SendError::denied("what it says to log in is no text").because(error.utf8_error());
            connection.named(error)
        })
    }

    /// What a broker says, without our password should it repeat that.
    fn without_password(&self, message: String) -> String {
        if self.password.len() >= MIN_HIDDEN {
            message.replace(self.password.as_str(), "***")
        } else {
            message
        }
    }
}

fn nonce() -> Result<String, getrandom::Error> {
    let mut random = [0; 24];
    getrandom::fill(&mut random)?;
    Ok(STANDARD.encode(random))
}
