//! What the settings of whoever connects say about connections.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;

use super::guard::AddressGuard;
use crate::settings::SettingError;

/// Where may be connected to, whom to trust there, and who we are.
#[derive(Debug, Clone)]
pub struct OutboundSettings {
    /// Networks that may be connected to although they are not public.
    pub allow_networks: Vec<IpNet>,
    /// Certificates of the authorities to trust in place of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate that we show, in PEM.
    pub client_certificate_file: Option<PathBuf>,
    /// The private key to the certificate that we show, in PEM.
    pub client_key_file: Option<PathBuf>,
    /// How long one exchange may take, connecting included.
    pub timeout: Duration,
}

impl OutboundSettings {
    /// The guard for connections that are encrypted, or in `plaintext`.
    pub fn guard(&self, plaintext: bool) -> AddressGuard {
        AddressGuard { networks: self.allow_networks.clone(), plaintext }
    }
}

/// The bytes of a file that a setting names.
///
/// # Errors
/// The setting, if the file cannot be read.
pub(super) fn read_file(setting: &'static str, path: &Path) -> Result<Vec<u8>, SettingError> {
    std::fs::read(path).map_err(|error| {
        SettingError::new(setting, format!("cannot be read: {}", path.display())).because(error)
    })
}
