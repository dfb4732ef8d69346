//! TLS over a TCP connection: whom to trust, and who we are. [`HttpClient`](super::HttpClient) does the same for HTTPS.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{error::OutboundError, settings::OutboundSettings};
use crate::settings::SettingError;

/// Whom we trust and who we are, whichever server is connected to.
pub struct TlsContext(TlsConnector);

/// Encrypts connections to one server, by the name that its certificate must hold.
pub struct TlsClient {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsContext {
    /// Reads the certificates; an error of the library itself is blamed on `setting`.
    ///
    /// # Errors
    /// The setting that is wrong.
    pub fn new(setting: &'static str, settings: &OutboundSettings) -> Result<Self, SettingError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SettingError::new(setting, "cannot be used").because(error))?;
        let config = with_trust(config, settings.ca_file.as_deref())?;
        let config = match (&settings.client_certificate_file, &settings.client_key_file) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("client_certificate_file", certificate)?;
                let wrong = |hint: &str| SettingError::new("client_key_file", hint);
                // Neither error is repeated: it might show a part of the key.
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|_| wrong("cannot be read, or holds no private key in PEM"))?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|_| wrong("must hold the key to the certificate in client_certificate_file"))?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(Self(Arc::new(config).into()))
    }

    /// A client for a server whose certificate must hold this name.
    ///
    /// # Errors
    /// The setting `server_name`, if the name is none.
    pub fn client_for(&self, name: &str) -> Result<TlsClient, SettingError> {
        Ok(TlsClient { connector: self.0.clone(), name: server_name(name)? })
    }
}

impl TlsClient {
    /// Makes the handshake over a connection.
    ///
    /// # Errors
    /// [`OutboundError::NotTrusted`] if either side does not trust the other, else why the connection broke.
    pub async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, OutboundError> {
        self.connector.connect(self.name.clone(), stream).await.map_err(OutboundError::of_connection)
    }
}

/// The name of a server as certificates have it.
///
/// # Errors
/// The setting `server_name`, if the name is none.
pub fn server_name(name: &str) -> Result<ServerName<'static>, SettingError> {
    ServerName::try_from(name.to_owned()).map_err(|error| {
        SettingError::new("server_name", "must be the name or the address in the receiver's certificate")
            .because(error)
    })
}

fn with_trust(
    config: ConfigBuilder<ClientConfig, WantsVerifier>,
    ca_file: Option<&Path>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, SettingError> {
    let wrong = |hint: &str| SettingError::new("ca_file", hint);
    let Some(path) = ca_file else {
        return config
            .with_platform_verifier()
            .map_err(|error| wrong("must be set: the system's cannot be used").because(error));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", path)? {
        roots.add(certificate).map_err(|error| wrong("holds what is no certificate").because(error))?;
    }
    Ok(config.with_root_certificates(roots))
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(SettingError::new(setting, "must hold certificates in PEM")),
        Err(error) => {
            Err(SettingError::new(setting, format!("cannot be read: {}", path.display())).because(error))
        }
    }
}
