//! TLS to a receiver: whom to trust, and who we are. As in `client`, which does the same for HTTPS.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::forward::{Common, Failure};

/// Whom we trust and who we are, whoever is connected to.
pub struct Trust(TlsConnector);

/// Makes connections private.
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Trust {
    /// Reads certificates; an error of the library itself is blamed on `setting`.
    ///
    /// # Errors
    /// The setting that is wrong and the hint.
    pub fn open(setting: &'static str, common: &Common) -> Result<Self, (&'static str, String)> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| (setting, error.to_string()))?;
        let config = trusting(config, common.ca_file.as_deref())?;
        let config = match (&common.client_certificate_file, &common.client_key_file) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("client_certificate_file", certificate)?;
                let wrong = |hint: &str| ("client_key_file", hint.to_owned());
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

    /// Towards a receiver whose certificate must hold this name.
    ///
    /// # Errors
    /// When it is no name.
    pub fn towards(&self, name: &str) -> Result<Tls, (&'static str, String)> {
        Ok(Tls { connector: self.0.clone(), name: server_name(name)? })
    }
}

impl Tls {
    /// Shakes hands.
    ///
    /// # Errors
    /// When either does not trust the other: [`Failure::Denied`].
    pub async fn connect(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        self.connector.connect(self.name.clone(), socket).await.map_err(|error| failure(&error))
    }
}

/// What an error on a TLS connection means.
pub fn failure(error: &io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) => {
            Failure::Denied(format!("no TLS with the receiver: {error}"))
        }
        _ => Failure::Unreachable(error.to_string()),
    }
}

/// The name of a server as certificates have it.
///
/// # Errors
/// The setting and the hint.
pub fn server_name(name: &str) -> Result<ServerName<'static>, (&'static str, String)> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        ("server_name", "must be the name or the address in the receiver's certificate".to_owned())
    })
}

fn trusting(
    config: ConfigBuilder<ClientConfig, WantsVerifier>,
    ca_file: Option<&Path>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, (&'static str, String)> {
    let wrong = |hint: String| ("ca_file", hint);
    let Some(path) = ca_file else {
        return config
            .with_platform_verifier()
            .map_err(|error| wrong(format!("must be set: the system's cannot be used: {error}")));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", path)? {
        roots.add(certificate).map_err(|error| wrong(format!("holds what is no certificate: {error}")))?;
    }
    Ok(config.with_root_certificates(roots))
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, (&'static str, String)> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err((setting, "must hold certificates in PEM".to_owned())),
        Err(error) => Err((setting, format!("cannot be read: {}: {error}", path.display()))),
    }
}
