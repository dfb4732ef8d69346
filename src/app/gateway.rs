//! The gateway as a part of the service: opened before the store, served beside the API, settled before the store is
//! closed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::{
    config::{self, Config},
    engine::Engine,
    gateway::{self, Gateway, Upstreams, settings::GatewaySettings},
    http,
    intake::Intake,
};

/// A gateway that is ready to be served.
pub(super) struct Prepared {
    settings: GatewaySettings,
    upstreams: Upstreams,
    listener: TcpListener,
    address: SocketAddr,
}

/// A gateway that is served.
pub(super) struct Serving {
    pub address: SocketAddr,
    gateway: Arc<Gateway>,
    serving: JoinHandle<std::io::Result<()>>,
}

/// Reads keys and certificates, and takes the address; `None` where no upstream is configured.
pub(super) async fn prepare(config: &Config) -> Result<Option<Prepared>, AppError> {
    if !config.gateway.is_on() {
        return Ok(None);
    }
    let settings = config.gateway.clone();
    let upstreams = Upstreams::open(&settings)?;
    let failed = |source| AppError::Listen { address: settings.listen, source };
    let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some(Prepared { settings, upstreams, listener, address }))
}

impl Prepared {
    /// Serves the gateway until `stop` is cancelled.
    pub(super) fn serve(
        self,
        engine: &Arc<Engine>,
        intake: &Intake,
        server: &config::Server,
        stop: &CancellationToken,
    ) -> Serving {
        let Self { settings, upstreams, listener, address } = self;
        let body_timeout = Duration::from_millis(server.request_timeout_ms);
        let gateway = Gateway::new(&settings, upstreams, engine.clone(), intake.clone(), body_timeout);
        let router = gateway::router(gateway.clone());
        let (server, stop) = (server.clone(), stop.clone());
        let serving = tokio::spawn(async move { http::serve(listener, router, &server, stop).await });
        Serving { address, gateway, serving }
    }
}

impl Serving {
    /// Waits until connections have ended and all requests are settled.
    pub(super) async fn finish(self) -> Result<(), AppError> {
        let served = self.serving.await;
        self.gateway.finish().await;
        let internal = |error: &dyn std::error::Error| AppError::Internal(error.to_string());
        served.map_err(|error| internal(&error))?.map_err(|error| internal(&error))
    }
}
