//! `keyward serve`: runs the service until it is told to stop. Upon SIGHUP, and when their file changes, the settings
//! are read again.

use std::time::Duration;

use clap::Args;

use super::{Failure, settings::Settings};
use crate::{
    app, clock,
    config::{Config, ConfigError, HERE, LogFormat},
    telemetry,
    watch::{Look, Watch},
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
        if config.keeps_data_here() {
            let directory = std::env::current_dir().unwrap_or_default().join(HERE);
            tracing::info!(directory = %directory.display(), "the data are below the directory of this start");
        }
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(serve(config, self.settings))
    }
}

async fn serve(config: Config, settings: Settings) -> Result<(), Failure> {
    // Before anything is opened, so that no signal finds nobody listening.
    let (mut signals, mut changes) = (Signals::new()?, Changes::new(&config, &settings)?);
    let running = tokio::select! {
        running = app::start(config.clone()) => running?,
        _ = signals.next() => return Ok(()),
    };
    announce(&config, &running);
    let name = loop {
        tokio::select! {
            name = signals.next() => break name,
            // What was read is put in force whole before anything is stopped.
            read = read_again(&settings, &mut changes) => running.reload(read).await,
        }
    };
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

/// Reads the settings again once that is asked for.
async fn read_again(settings: &Settings, changes: &mut Changes) -> Result<Config, ConfigError> {
    loop {
        changes.next().await;
        let settings = settings.clone();
        match tokio::task::spawn_blocking(move || settings.load()).await {
            Ok(read) => return read,
            Err(error) => tracing::error!(%error, "reading the settings failed"),
        }
    }
}

/// What has the settings read again: SIGHUP, and a file that has changed.
struct Changes {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
    file: Option<SettingsFile>,
}

impl Changes {
    fn new(config: &Config, settings: &Settings) -> std::io::Result<Self> {
        let every = Duration::from_secs(config.server.reload_seconds);
        Ok(Self {
            #[cfg(unix)]
            hangup: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
            file: settings.file().filter(|_| !every.is_zero()).map(|file| SettingsFile::new(&file, every)),
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => tracing::info!("SIGHUP: the settings are read again"),
            () = changed(&mut self.file) => tracing::info!("their file has changed: the settings are read again"),
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        changed(&mut self.file).await;
    }
}

/// Waits until the file has changed; for ever where there is none.
async fn changed(file: &mut Option<SettingsFile>) {
    match file {
        Some(file) => file.changed().await,
        None => std::future::pending().await,
    }
}

/// The file that settings are read from.
struct SettingsFile {
    watch: Watch,
    looks: tokio::time::Interval,
    /// Whether it has changed, and whoever writes it may not be done.
    is_new: bool,
}

impl SettingsFile {
    fn new(file: &std::path::Path, every: Duration) -> Self {
        Self { watch: Watch::new(&[file.to_owned()]), looks: clock::ticks(every), is_new: false }
    }

    /// Waits until it has changed and is the same at two looks: half of a file may say something else than the whole.
    async fn changed(&mut self) {
        loop {
            self.looks.tick().await;
            match self.watch.look() {
                Look::Same if self.is_new => break,
                Look::Same => {}
                Look::New => self.is_new = true,
                Look::Back => self.is_new = false,
            }
        }
        self.is_new = false;
        self.watch.taken();
    }
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
