//! Why the service cannot start, in the words of whoever has to correct it.

use std::{io, net::SocketAddr};

use crate::{
    config::ConfigError, geo::GeoError, intake::PepperError, pricing::PriceError, settings::SettingErrors,
    store::StoreError, telemetry::TelemetryError,
};

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration cannot be read, or a setting in it is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log level of the configuration is no filter.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The pepper can be neither read nor made.
    #[error(transparent)]
    Pepper(#[from] PepperError),
    /// The store was filled under another pepper: no key would be recognised, and every ban of a key would be void.
    #[error(
        "the store {store} was filled with another pepper named {name} than the one from {source_of_pepper}: \
         with it no banned key would be recognised. Start with the pepper that was used before (copy the pepper file \
         of an instance that runs, or set KEYWARD_PEPPER); to bring in a new one, give it another name and list both, \
         newest first: k2:<new>,k1:<former>"
    )]
    OtherPepper {
        /// The store, without credentials.
        store: String,
        /// The setting that names the pepper's file.
        name: String,
        /// Where this instance has its pepper from.
        source_of_pepper: String,
    },
    /// The store cannot be opened or does not answer.
    #[error("{store}: {error}{}", hint(error))]
    Store {
        /// The store, without credentials.
        store: String,
        /// The error of the store.
        #[source]
        error: StoreError,
    },
    /// A geo database cannot be opened.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// The price list cannot be read.
    #[error(transparent)]
    Prices(#[from] PriceError),
    /// Settings of sinks that cannot be opened, or tokens that cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingErrors),
    /// Nobody can listen on the address.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address and port that were asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// What was in memory at the end could be neither stored nor left for the next start.
    #[error(
        "stopped without writing all: {0}. What was decided while the store did not answer is lost; \
         see that the store answers, or that secrets.data_directory can be written, before the service is stopped"
    )]
    NotStored(String),
    /// Nobody can listen where `/v1/authorize`, or gRPC, is to be served alone.
    #[error("cannot listen on {place} ({setting}): {source}; choose another, or free it")]
    DoorListen {
        /// The setting that names the place.
        setting: &'static str,
        /// The address and port, or the socket, that was asked for.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something in the process itself.
    #[error("{0}")]
    Internal(String),
}

fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) | StoreError::Deadline(_) => {
            "; check that it runs and that store.url (--store, KEYWARD_STORE) leads to it, or use embedded:<directory>"
        }
        _ => "",
    }
}
