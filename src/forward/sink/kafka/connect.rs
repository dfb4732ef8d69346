//! The way to a broker: an address that the guard allows, TLS, the versions that both sides speak, and logging in. For the
//! brokers in the settings, and for those that the cluster names.

use std::{net::SocketAddr, time::Duration};

use tokio::time::timeout;

use super::{
    connection::{BrokerConnection, about},
    error_code,
    messages::{Spoken, VERSIONS},
    sasl::Credentials,
};
use crate::forward::{
    Failure, Guard,
    reach::{Io, Route, Trust, connect},
};

/// What one address gets to answer, and to shake hands.
const CONNECT: Duration = Duration::from_secs(5);

/// Makes connections to brokers.
pub struct BrokerConnector {
    pub guard: Guard,
    /// None: without TLS.
    pub trust: Option<Trust>,
    /// The name in every broker's certificate, if it is not the host by which the broker goes.
    pub server_name: Option<String>,
    pub credentials: Option<Credentials>,
    pub client: String,
    /// How long an answer may take.
    pub limit: Duration,
}

impl BrokerConnector {
    /// Connects to a broker.
    ///
    /// # Errors
    /// Why none of its addresses will do.
    pub async fn connect(&self, host: &str, port: u16) -> Result<BrokerConnection, Failure> {
        let name = format!("{host}:{port}");
        let named = |failure| about(&format!("broker {name}"), failure);
        let Some(route) = Route::to(host, port, self.guard.clone()) else {
            let what = error_code::shown(&name);
            return Err(Failure::Denied(format!("the cluster names a broker {what:?}, which is no address")));
        };
        let mut failed = None;
        for address in route.addresses().await.map_err(named)? {
            let late =
                || Failure::Unreachable(format!("{address}: no answer within {} s", CONNECT.as_secs()));
            let io = timeout(CONNECT, self.reach(address, host)).await.unwrap_or_else(|_| Err(late()));
            match io.map_err(named) {
                Ok(io) => {
                    return self
                        .introduce(BrokerConnection::new(io, name.clone(), self.client.clone(), self.limit))
                        .await;
                }
                Err(why) => failed = Some(why),
            }
        }
        Err(failed.unwrap_or_else(|| Failure::Unreachable(format!("broker {name} has no address"))))
    }

    async fn reach(&self, address: SocketAddr, host: &str) -> Result<Box<dyn Io>, Failure> {
        let stream = connect(address, None).await;
        let stream = stream.map_err(|error| Failure::Unreachable(format!("{address}: {error}")))?;
        let Some(trust) = &self.trust else { return Ok(Box::new(stream)) };
        let name = self.server_name.as_deref().unwrap_or(host);
        let tls =
            trust.towards(name).map_err(|(setting, hint)| Failure::Denied(format!("{setting} {hint}")))?;
        Ok(Box::new(tls.connect(stream).await?))
    }

    /// Asks what is spoken, and logs in.
    async fn introduce(&self, mut connection: BrokerConnection) -> Result<BrokerConnection, Failure> {
        let answer = connection.ask(VERSIONS, VERSIONS.newest, &[]).await?;
        let spoken = Spoken::read(&answer).map_err(|garbled| connection.garbled(VERSIONS, garbled))?;
        connection.spoken = spoken.map_err(|error| connection.named(error_code::failure(error, None)))?;
        if let Some(credentials) = &self.credentials {
            credentials.log_in(&mut connection).await?;
        }
        Ok(connection)
    }
}
