//! What all requests through the gateway use.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::sync::Semaphore;

use super::{
    super::{estimate::Ratios, route::Routes, settings::GatewaySettings, upstream::Upstream},
    cache::AnswerCache,
};
use crate::{
    clock,
    engine::Engine,
    intake::Intake,
    settings::{SettingError, SettingErrors},
};

/// Requests that may be on their way at once; far more than connections.
const MOST_CALLS: u32 = 1_000_000;
/// How long requests have to be settled after the last connection has ended.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(5);
/// Memory is handed out in pieces of so many bytes.
pub(super) const PIECE: usize = 1024;

/// How long each step of a request may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Until a client has sent its body.
    pub body: Duration,
    /// Until an answer begins that is no stream.
    pub first_byte: Duration,
    /// Until the first event of a stream.
    pub stream_first_byte: Duration,
    /// Between two parts of an answer.
    pub idle: Duration,
    /// For all attempts together, until the answer begins.
    pub deadline: Duration,
}

/// The gateway: upstreams, routes, and the engine that watches.
pub struct Gateway {
    pub(super) engine: Arc<Engine>,
    pub(super) intake: Intake,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) routes: Routes,
    pub(super) ratios: Ratios,
    pub(super) cache: AnswerCache,
    pub(super) proxies: Vec<IpNet>,
    pub(super) times: Times,
    pub(super) max_attempts: usize,
    /// Tokens reserved for an answer without a cap, of a model that is not known.
    pub(super) output_tokens: u64,
    /// Memory for bodies, in pieces of [`PIECE`] bytes.
    pub(super) memory: Arc<Semaphore>,
    /// Each request on its way has one permit.
    pub(super) calls: Arc<Semaphore>,
}

/// The upstreams of a gateway, opened.
pub struct Upstreams(Vec<Upstream>);

impl Upstreams {
    /// Opens every upstream: reads keys and certificates.
    ///
    /// # Errors
    /// Every setting that cannot be used.
    pub fn open(settings: &GatewaySettings) -> Result<Self, SettingErrors> {
        let connect = Duration::from_millis(settings.connect_timeout_ms);
        let (mut errors, mut opened) = (SettingErrors::default(), Vec::new());
        for (n, upstream) in settings.upstreams.iter().enumerate() {
            let place = format!("gateway.upstreams[{n}]");
            let upstream = Upstream::open(upstream, connect).map_err(|error| error.within(&place));
            opened.extend(errors.take(upstream));
        }
        errors.finish(Ok::<_, SettingError>(Self(opened)))
    }
}

impl Gateway {
    /// A gateway over an engine. `body_timeout`: how long a client may take to send a body.
    pub fn new(
        settings: &GatewaySettings,
        Upstreams(upstreams): Upstreams,
        engine: Arc<Engine>,
        intake: Intake,
        body_timeout: Duration,
    ) -> Arc<Self> {
        let pieces = settings.body_memory_mib as usize * (1024 * 1024 / PIECE);
        Arc::new(Self {
            engine,
            intake,
            upstreams,
            routes: Routes::new(settings),
            ratios: Ratios::new(settings.estimate),
            cache: AnswerCache::new(settings),
            proxies: settings.proxies(),
            times: Times {
                body: body_timeout,
                first_byte: Duration::from_millis(settings.first_byte_timeout_ms),
                stream_first_byte: Duration::from_millis(settings.stream_first_byte_timeout_ms),
                idle: Duration::from_millis(settings.idle_timeout_ms),
                deadline: Duration::from_millis(settings.deadline_ms),
            },
            max_attempts: settings.max_attempts as usize,
            output_tokens: settings.output_tokens,
            memory: Arc::new(Semaphore::new(pieces.min(Semaphore::MAX_PERMITS))),
            calls: Arc::new(Semaphore::new(MOST_CALLS as usize)),
        })
    }

    /// Waits until every request is settled, for a few seconds at most.
    pub async fn finish(&self) {
        if clock::timeout(LAST_SETTLEMENTS, self.calls.acquire_many(MOST_CALLS)).await.is_err() {
            tracing::warn!("requests through the gateway were not settled; their leases end by themselves");
        }
    }
}
