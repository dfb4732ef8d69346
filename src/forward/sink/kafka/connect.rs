//! The way to a broker: an address that the guard allows, TLS, the versions that both sides support, and logging in.
//! For the brokers in the settings, and for those that the cluster names.

use std::{net::SocketAddr, time::Duration};

use super::{
    connection::BrokerConnection,
    error_code::{error_of, shown},
    messages::{SupportedVersions, VERSIONS},
    sasl::Credentials,
};
use crate::{
    clock,
    forward::error::SendError,
    outbound::{AddressGuard, ByteStream, Endpoint, OutboundError, TlsContext, connect},
};

/// How long one address has to answer and to make the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes connections to brokers.
pub(super) struct BrokerConnector {
    pub guard: AddressGuard,
    /// `None` for connections in the clear.
    pub tls: Option<TlsContext>,
    /// The name in every broker's certificate, if it is not the host by which the broker goes.
    pub server_name: Option<String>,
    pub credentials: Option<Credentials>,
    pub client_id: String,
    /// How long a response may take.
    pub timeout: Duration,
}

impl BrokerConnector {
    /// Connects to a broker and logs in.
    ///
    /// # Errors
    /// Why the last of its addresses will not do.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<BrokerConnection, SendError> {
        let name = format!("{host}:{port}");
        let named = |error: SendError| error.about(format!("broker {name}"));
        let Some(endpoint) = Endpoint::new(host, port, self.guard.clone()) else {
            let what = shown(&name);
            return Err(SendError::denied("the cluster names a broker that has no address").detail(what));
        };
        let addresses = endpoint.addresses().await.map_err(|error| named(error.into()))?;
        let mut failed = SendError::unreachable(format!("broker {name} has no address"));
        for address in addresses {
            let late = || Err(OutboundError::TimedOut { address, limit: CONNECT_TIMEOUT }.into());
            let stream =
                clock::timeout(CONNECT_TIMEOUT, self.open(address, host)).await.unwrap_or_else(|_| late());
            match stream.map_err(named) {
                Ok(stream) => {
                    let client_id = self.client_id.clone();
                    return self.log_in(BrokerConnection::new(stream, name, client_id, self.timeout)).await;
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn open(&self, address: SocketAddr, host: &str) -> Result<Box<dyn ByteStream>, SendError> {
        let stream = connect(address, None).await;
        let stream = stream.map_err(|source| OutboundError::NotConnected { address, source })?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = self.server_name.as_deref().unwrap_or(host);
        let tls = tls.client_for(name).map_err(|error| SendError::denied(error.to_string()))?;
        Ok(Box::new(tls.connect(stream).await?))
    }

    /// Asks which versions are supported, and logs in.
    async fn log_in(&self, mut connection: BrokerConnection) -> Result<BrokerConnection, SendError> {
        let response = connection.request(VERSIONS, VERSIONS.newest, &[]).await?;
        let supported =
            SupportedVersions::read(&response).map_err(|error| connection.malformed(VERSIONS, error))?;
        connection.supported = supported.map_err(|code| connection.named(error_of(code, None)))?;
        if let Some(credentials) = &self.credentials {
            credentials.log_in(&mut connection).await?;
        }
        Ok(connection)
    }
}
