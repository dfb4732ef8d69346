//! `keyward demo`: the real service over a store of its own, with keys that have a past, and labelled traffic played
//! into it over its HTTP API: decisions, bans and events within a minute. With `--gateway`, a stream that a ban cuts.

mod answer;
mod gateway;
mod play;
mod screen;
mod story;

use std::{path::Path, sync::Arc, time::Duration};

use clap::Args;
use reqwest::Method;
use toml::Value;

use super::{Failure, client::Service, serve::Signals};
use crate::{
    app, clock,
    config::{Config, Sources},
    demo::{Cast, Past, price_list, registry, script, teach},
    geo::Geo,
    telemetry,
};
use screen::Screen;

/// How long the play takes where nothing else is asked for, in seconds.
const SECONDS: u64 = 40;

/// See it at work: a service with a past, under attack. Settings from the environment and from files are left aside.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Loopback address and port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Keep the data: embedded:<directory> or redis://… [default: a temporary directory, removed at the end].
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Another seed, other traffic.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long the play takes [default: 40, with --gateway 8].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: Option<u64>,
    /// The gateway instead, before a provider that is built in: a key leaks, and its stream is cut. It listens on the
    /// next port.
    #[arg(long)]
    gateway: bool,
    /// Stop after the play instead of serving on.
    #[arg(long)]
    exit: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        // Removed when it is dropped, after everything that works in it has ended.
        let directory = tempfile::Builder::new().prefix("keyward-demo-").tempdir()?;
        let own = format!("embedded:{}", directory.path().display());
        let store = self.store.clone().unwrap_or(own);
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(self.stage(&store, directory.path()))
    }

    /// How long the play takes, in seconds.
    fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.gateway { gateway::SECONDS } else { SECONDS })
    }

    /// The settings: the defaults, and what the play needs. Not the environment's, which may name a real store.
    fn config(&self, store: &str, more: Vec<(&'static str, &'static str, Value)>) -> Result<Config, Failure> {
        let text = |text: &str| Value::String(text.to_owned());
        let mut flags = vec![
            ("--listen", "server.listen", text(&self.listen)),
            ("demo", "log.level", text("warn")),
            // A laptop that is busy with other things shall not see a degraded service at its first meeting.
            ("demo", "store.deadline_ms", Value::Integer(1_000)),
        ];
        flags.push(("--store", "store.url", text(store)));
        flags.extend(more);
        Ok(Config::load(&Sources { flags, ..Sources::default() })?)
    }

    async fn stage(self, store: &str, scratch: &Path) -> Result<(), Failure> {
        let mut signals = Signals::new()?;
        let screen = Screen::new();
        let perform = async {
            match self.gateway {
                true => gateway::perform(&self, store, &screen).await,
                false => self.perform(store, scratch, &screen).await,
            }
        };
        let done = tokio::select! {
            done = perform => done,
            _ = signals.next() => return Ok(()),
        };
        let running = done?;
        if !self.exit {
            screen.serving_on(running.address)?;
            signals.next().await;
        }
        Ok(running.shutdown().await?)
    }

    /// The past, the service, the play. The service that is returned still runs.
    async fn perform(&self, store: &str, scratch: &Path, screen: &Screen) -> Result<app::Running, Failure> {
        let prices = scratch.join("prices.toml");
        std::fs::write(&prices, price_list()).map_err(|error| Failure::file(&prices, &error))?;
        let prices = Value::String(prices.display().to_string());
        let config = self.config(store, vec![("demo", "prices.file", prices)])?;
        telemetry::start_log(&config.log)?;
        let cast = Cast::draw(self.seed, clock::wall());
        screen.past_begins(cast.players.len())?;
        let (past, took) = learn(&config, &cast).await?;
        screen.past_ends(past.requests, took)?;
        let running = app::start(config).await?;
        let url = format!("http://{}", running.address);
        let length = Duration::from_secs(self.seconds());
        let suspect = |name: &str| past.suspects.iter().any(|suspect| &**suspect == name);
        let cues = script(&cast, self.seed, clock::wall(), length, suspect);
        screen.welcome(&url, cast.to_try(self.seed).as_ref(), &cues, length)?;
        let service = Service { url, token: None, json: true }.connect()?;
        for ([kind, name], body) in registry(&cast) {
            service.send(service.request(Method::PUT, &["v1", &kind, &name]).json(&body)).await?;
        }
        let score = play::play(&service, cues, screen).await?;
        screen.result(&score)?;
        Ok(running)
    }
}

/// Teaches the store everybody's past; how long that took, in seconds.
async fn learn(config: &Config, cast: &Cast) -> Result<(Past, f64), Failure> {
    let began = clock::wall();
    let geo = Arc::new(Geo::open(&[], true)?);
    let store = app::open_store(config).await?;
    let past = teach(cast, began, store, geo, config.policy.clone(), config.prices.file()).await?;
    Ok((past, (clock::wall() - began) as f64 / 1000.0))
}
