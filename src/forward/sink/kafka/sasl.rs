//! Logging in: SASL PLAIN (RFC 4616), SCRAM-SHA-256 and SCRAM-SHA-512.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    connection::BrokerConnection,
    error_code,
    messages::{AUTHENTICATE, Authenticated, HANDSHAKE, ask_authenticate, ask_handshake, read_handshake},
    scram::{Hash, Scram},
};
use crate::forward::Failure;

/// A shorter password would be found in any text.
const SHORTEST_HIDDEN: usize = 4;

/// How we log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Mechanism {
    /// Its name in the registry of SASL mechanisms.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we are, and how we show it.
pub struct Credentials {
    pub mechanism: Mechanism,
    pub username: String,
    pub password: Zeroizing<String>,
}

impl Credentials {
    /// Logs in on a new connection.
    ///
    /// # Errors
    /// When we are not let in: [`Failure::Denied`].
    pub async fn log_in(&self, connection: &mut BrokerConnection) -> Result<(), Failure> {
        self.greet(connection).await?;
        match self.mechanism {
            Mechanism::Plain => {
                let said = Zeroizing::new(format!("\0{}\0{}", self.username, self.password.as_str()));
                self.say(connection, &said).await.map(drop)
            }
            Mechanism::ScramSha256 => self.prove(connection, Hash::Sha256).await,
            Mechanism::ScramSha512 => self.prove(connection, Hash::Sha512).await,
        }
    }

    async fn greet(&self, connection: &mut BrokerConnection) -> Result<(), Failure> {
        let version = connection.version(HANDSHAKE)?;
        let answer = connection.ask(HANDSHAKE, version, &ask_handshake(self.mechanism.name())).await?;
        let (error, known) =
            read_handshake(&answer).map_err(|garbled| connection.garbled(HANDSHAKE, garbled))?;
        if error == 0 {
            return Ok(());
        }
        let known = error_code::shown(&known.join(", "));
        let said = format!("it has {}", if known.is_empty() { "none" } else { &known });
        Err(connection.named(error_code::failure(error, Some(&said))))
    }

    async fn prove(&self, connection: &mut BrokerConnection, hash: Hash) -> Result<(), Failure> {
        let nonce =
            nonce().map_err(|why| Failure::Unreachable(format!("random numbers are needed: {why}")))?;
        let scram = Scram::new(hash, &self.username, &self.password, &nonce);
        let said = self.say(connection, &scram.first()).await?;
        let wrong = |connection: &BrokerConnection, why: &str| {
            connection.named(Failure::Denied(format!("{}: {why}", self.mechanism.name())))
        };
        let proof = scram.prove(&said).map_err(|why| wrong(connection, why))?;
        let said = self.say(connection, &proof.message).await?;
        proof.check(&said).map_err(|why| wrong(connection, why))
    }

    /// Says something, and returns what is said back.
    async fn say(&self, connection: &mut BrokerConnection, text: &str) -> Result<String, Failure> {
        let version = connection.version(AUTHENTICATE)?;
        let question = Zeroizing::new(ask_authenticate(text.as_bytes()));
        let answer = connection.ask(AUTHENTICATE, version, &question).await?;
        let answer = Authenticated::read(&answer, version)
            .map_err(|garbled| connection.garbled(AUTHENTICATE, garbled))?;
        if answer.error != 0 {
            let said = answer.message.map(|said| self.hidden(said));
            return Err(connection.named(error_code::failure(answer.error, said.as_deref())));
        }
        // Logs in anew well before the time is up.
        let lifetime = u64::try_from(answer.lifetime).ok().filter(|lifetime| *lifetime > 0);
        connection.ends = lifetime.map(|lifetime| Instant::now() + Duration::from_millis(lifetime) * 4 / 5);
        String::from_utf8(answer.said)
            .map_err(|_| connection.named(Failure::Denied("what it says to log in is no text".to_owned())))
    }

    /// What a broker says, without our password should it repeat that.
    fn hidden(&self, said: String) -> String {
        if self.password.len() >= SHORTEST_HIDDEN {
            said.replace(self.password.as_str(), "***")
        } else {
            said
        }
    }
}

fn nonce() -> Result<String, getrandom::Error> {
    let mut random = [0; 24];
    getrandom::fill(&mut random)?;
    Ok(STANDARD.encode(random))
}
