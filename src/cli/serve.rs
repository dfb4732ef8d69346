//! `keyward serve`: runs the service until it is told to stop.

use clap::Args;

use super::{Failure, settings::Settings};
use crate::{
    app,
    config::{Config, LogFormat},
    telemetry,
};

/// Run the service until it is told to end.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub settings: Settings,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.settings.load()?;
        telemetry::start_log(&config.log)?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(config))
    }
}

async fn serve(config: Config) -> Result<(), Failure> {
    // Before anything is opened, so that no signal finds nobody listening.
    let mut signals = Signals::new()?;
    let running = tokio::select! {
        running = app::start(config.clone()) => running?,
        _ = signals.next() => return Ok(()),
    };
    announce(&config, &running);
    let name = signals.next().await;
    tracing::info!(signal = name, "stopping; a second signal stops at once");
    tokio::select! {
        done = running.shutdown() => done?,
        name = signals.next() => {
            tracing::warn!(signal = name, "stopped before everything was written");
            // The runtime would wait for work that blocks.
            std::process::exit(i32::from(super::code::SOFTWARE));
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// For people on stderr; a log that is read by machines gets a line of its own kind.
fn announce(config: &Config, running: &app::Running) {
    match config.log.format {
        LogFormat::Text => eprint!("{}", app::banner(config, running)),
        LogFormat::Json => {
            if running.engine.policy().observes() {
                tracing::warn!("the policy only observes: nothing is refused");
            }
            tracing::info!(
                url = format!("http://{}", app::reachable(running.address)),
                listen = %running.address,
                version = env!("CARGO_PKG_VERSION"),
                "ready"
            );
        }
    }
}

/// The signals that end the service.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    pub(super) async fn next(&mut self) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }
}
