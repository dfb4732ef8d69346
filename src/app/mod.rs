//! Puts the rooms together: configuration, peppers, store, geo databases, prices, engine, routes, accept loop; and
//! takes them apart again in the opposite order.

mod banner;
mod base;
mod descriptors;
mod doors;
mod error;
mod gateway;
mod open;
mod reload;

pub use banner::{banner, reachable};
pub use error::AppError;
pub use open::{probe, store as open_store};

use std::{net::SocketAddr, sync::Arc, time::Duration};

use doors::{Doors, Serving, join};
use reload::Reloader;

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    config::{self, AllowedHosts, Config, ConfigError},
    domain::{SECOND, actor::Actor},
    engine::{DataDirectory, Engine, EngineOptions, Stopped},
    forward::{Forwarder, SinkContext, Statuses},
    geo::{Geo, GeoStatus},
    http::{self, AppState, Auth, Authorize, Bouncers},
    intake::Intake,
    pricing::{PriceStatus, Prices},
    telemetry,
    watch::Reload,
    web,
};

/// A service that runs.
pub struct Running {
    /// The address that it listens on, with the port that the system chose where 0 was asked for.
    pub address: SocketAddr,
    /// Where operators are listened to, where that is elsewhere.
    pub admin_address: Option<SocketAddr>,
    /// How the geo databases stood at the start.
    pub geo: GeoStatus,
    /// How the prices stood at the start.
    pub prices: PriceStatus,
    /// Decides; for tests and for whoever embeds the service.
    pub engine: Arc<Engine>,
    stop: CancellationToken,
    gateway: Option<gateway::Serving>,
    serving: JoinHandle<std::io::Result<()>>,
    /// What is on a listener of its own, where there is one.
    doors: Serving,
    reloader: Reloader,
    background: Background,
}

/// Tells the state of what the routes do not see, as JSON.
type Components = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What goes on beside the requests.
struct Background {
    finish: CancellationToken,
    upkeep: JoinHandle<Stopped>,
    forwarder: Arc<Forwarder>,
    stop_forwarding: CancellationToken,
    helpers: Vec<JoinHandle<()>>,
}

impl Running {
    /// The address that the gateway listens on; `None` where there is none.
    pub fn gateway_address(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().map(|gateway| gateway.address)
    }

    /// Whether everybody may do everything, because there is no token and never was one.
    pub fn is_open(&self) -> bool {
        self.reloader.is_open()
    }

    /// Puts settings in force that were read anew, as far as no restart is needed, and tells log and events of it.
    /// Where anything is wrong with them, those before stay in force, and each mistake is told.
    pub async fn reload(&self, read: Result<Config, ConfigError>) {
        self.reloader.take(read).await;
    }

    /// Stops accepting, lets requests in flight end, writes what is in memory.
    ///
    /// # Errors
    /// When the accept loop or the upkeep failed, or what was in memory could be neither stored nor left for the next
    /// start; what could be written was.
    pub async fn shutdown(self) -> Result<(), AppError> {
        self.stop.cancel();
        let served = self.serving.await;
        let gateway_served = match self.gateway {
            Some(gateway) => gateway.finish().await,
            None => Ok(()),
        };
        let asked = join(self.doors).await;
        // Before the store is closed: the cursors are in it.
        self.background.stop_forwarding.cancel();
        self.background.forwarder.finish().await;
        // Only now: what the last requests led to is still to be written.
        self.background.finish.cancel();
        let finished = self.background.upkeep.await;
        self.background.helpers.iter().for_each(JoinHandle::abort);
        let internal = |error: &dyn std::error::Error| AppError::Internal(error.to_string());
        served.map_err(|error| internal(&error))?.map_err(|error| internal(&error))?;
        gateway_served?;
        asked.map_err(|error| internal(&error))?;
        match finished.map_err(|error| internal(&error))? {
            Stopped::Stored => Ok(()),
            Stopped::Journaled(path) => {
                let path = path.display();
                tracing::warn!(%path, "the store does not answer: the next start writes what it lacks");
                Ok(())
            }
            Stopped::Lost(why) => Err(AppError::NotStored(why)),
        }
    }
}

/// Starts the service. When this returns, it answers.
///
/// # Errors
/// [`AppError`] says what is missing or wrong, and the hint.
pub async fn start(config: Config) -> Result<Running, AppError> {
    let started = clock::wall();
    let metrics = telemetry::start_metrics(started)?;
    let auth = Auth::new(&config.auth)?;
    let peppers = open::peppers(&config)?;
    let geo = open::geo(&config).await?;
    let prices = open::prices(&config).await?;
    // Before the store is opened: an address that is taken is the likelier mistake, and leaves nothing behind.
    let (listener, address) = listen(config.server.listen).await?;
    let gateway = gateway::prepare(&config).await?;
    let doors = Doors::open(&config.server).await?;
    let (admin, admin_address) = listen_where(config.server.admin_address()).await?;
    let options = options(&config, open::directory(&config, &peppers));
    let engine = open::engine(&config, &peppers, geo.clone(), options).await?;
    let stop_forwarding = CancellationToken::new();
    let forwarder = Arc::new(Forwarder::start(&config.sinks, &sink_context(&engine), &stop_forwarding)?);
    let (stop, finish) = (CancellationToken::new(), CancellationToken::new());
    let upkeep = tokio::spawn(engine.clone().upkeep(finish.clone()));
    geo.note_loaded(engine.now());
    let mut helpers = reloads(&config, &geo, &prices, (&engine, &auth));
    helpers.push(tokio::spawn(telemetry::fold(metrics.clone())));
    let intake = Intake::live(peppers.peppers, prices.clone(), skew(&config));
    let settings = fitting(&config.server, doors.count(), gateway.is_some(), admin.is_some());
    let gateway = gateway.map(|gateway| gateway.serve(&engine, &intake, &settings, &stop));
    let reloader = Reloader::new(config.clone(), auth.clone(), engine.clone(), forwarder.clone());
    let state = Arc::new(AppState {
        engine: engine.clone(),
        intake,
        auth,
        authorize: Authorize::new(&config.server, &config.authorize),
        traces: config.traces.clone(),
        bouncers: Bouncers::default(),
        hosts: AllowedHosts::new(&config.server),
        components: components(forwarder.statuses(), engine.clone(), geo.clone(), prices.clone()),
        sinks: forwarder.statuses(),
        trials: forwarder.trials(),
        config: reloader.shown(),
        metrics: Arc::new(move || metrics.render()),
        started,
        body_timeout: Duration::from_millis(config.server.request_timeout_ms),
        shutdown: stop.clone(),
    });
    let doors = doors.serve(&state, &settings, &stop);
    let router = http::router_with(state, web::router);
    let serving = tokio::spawn(serve(listener, admin, router, settings, stop.clone()));
    let background = Background { finish, upkeep, forwarder, stop_forwarding, helpers };
    Ok(Running {
        address,
        admin_address,
        geo: geo.status(),
        prices: prices.status(),
        engine,
        stop,
        gateway,
        serving,
        doors,
        reloader,
        background,
    })
}

/// The settings with as many connections of each listener as there are files for. Those of the gateway may each have
/// one to an upstream.
fn fitting(server: &config::Server, doors: usize, gateway: bool, admin: bool) -> Arc<config::Server> {
    let max_connections = descriptors::fit(descriptors::Wanted {
        connections: server.max_connections,
        files_each: 1 + doors + 2 * usize::from(gateway),
        besides: if admin { ADMIN_CONNECTIONS } else { 0 },
    });
    Arc::new(config::Server { max_connections, ..server.clone() })
}

/// Connections of operators at once, on a listener of their own.
const ADMIN_CONNECTIONS: usize = 64;

/// Serves callers, and operators where they have a listener of their own.
async fn serve(
    listener: TcpListener,
    admin: Option<TcpListener>,
    router: axum::Router,
    settings: Arc<config::Server>,
    until: CancellationToken,
) -> std::io::Result<()> {
    let Some(admin) = admin else { return http::serve(listener, router, &settings, until).await };
    let callers = http::callers_only(router.clone());
    let max_connections = settings.max_connections.min(ADMIN_CONNECTIONS);
    let few = config::Server { max_connections, ..(*settings).clone() };
    let both = tokio::join!(
        http::serve(listener, callers, &settings, until.clone()),
        http::serve(admin, router, &few, until)
    );
    both.0.and(both.1)
}

/// What looks for changed geo databases and price lists, and follows the tokens of the store.
fn reloads(
    config: &Config,
    geo: &Arc<Geo>,
    prices: &Arc<Prices>,
    (engine, auth): (&Arc<Engine>, &Auth),
) -> Vec<JoinHandle<()>> {
    let (geo, prices, clock) = (geo.clone(), prices.clone(), engine.clone());
    let reload_geo = move || geo.reload_if_changed(clock.now());
    vec![
        tokio::spawn(reload(config.geoip.reload_seconds, reload_geo)),
        tokio::spawn(reload(config.prices.reload_seconds, move || prices.reload_if_changed())),
        follow_tokens(auth, engine),
    ]
}

/// Puts the tokens of the store in force, and from then on those that are made or revoked on any instance.
fn follow_tokens(auth: &Auth, engine: &Engine) -> JoinHandle<()> {
    let (auth, mut tokens) = (auth.clone(), engine.stored_tokens());
    auth.replace_stored(&tokens.borrow());
    tokio::spawn(async move {
        while tokens.changed().await.is_ok() {
            auth.replace_stored(&tokens.borrow_and_update());
        }
    })
}

/// The state of what the routes do not see. No token is needed to see this: not what others answered.
fn components(sinks: Statuses, clock: Arc<Engine>, geo: Arc<Geo>, prices: Arc<Prices>) -> Components {
    Arc::new(move || {
        let sinks: Vec<_> = sinks.list().iter().map(|sink| sink.show_in_short(clock.now())).collect();
        serde_json::json!({ "geoip": geo.status(), "prices": prices.status(), "sinks": sinks })
    })
}

/// How far the timestamp of a record may be from now, ms.
fn skew(config: &Config) -> i64 {
    i64::try_from(config.server.max_clock_skew_seconds).unwrap_or(i64::MAX / 1000) * 1000
}

/// What sinks need of the rest.
fn sink_context(engine: &Arc<Engine>) -> SinkContext {
    let (clock, log, keys) = (engine.clone(), engine.clone(), engine.clone());
    SinkContext {
        replace_key: Some(Arc::new(move |hook, (old, new)| {
            let engine = keys.clone();
            Box::pin(async move {
                let (by, now) = (Actor::hook(&hook), engine.now());
                engine.successions().take_place((&old, &new), &by, now).await
            })
        })),
        store: engine.shared_store(),
        now: Arc::new(move || clock.now()),
        log_event: Arc::new(move |event| log.tell(event)),
        instance: uuid::Uuid::now_v7().to_string(),
        log_changes: Some(engine.news()),
    }
}

/// A listener, with the address that it has: the system chooses the port where 0 is asked for.
async fn listen(asked: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let failed = |source| AppError::Listen { address: asked, source };
    let listener = TcpListener::bind(asked).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The same where an address is asked for.
async fn listen_where(
    asked: Option<SocketAddr>,
) -> Result<(Option<TcpListener>, Option<SocketAddr>), AppError> {
    let Some(asked) = asked else { return Ok((None, None)) };
    let (listener, address) = listen(asked).await?;
    Ok((Some(listener), Some(address)))
}

fn options(config: &Config, directory: DataDirectory) -> EngineOptions {
    EngineOptions {
        deadline: Duration::from_millis(config.store.deadline_ms),
        idempotency_capacity: config.idempotency.capacity,
        retry_span: config.idempotency.seconds * SECOND,
        shares_store: config.store_is_shared(),
        profile_capacity: config.cardinality.max_tracked_keys,
        new_subjects_per_minute: config.cardinality.new_subjects_per_minute,
        new_subjects_per_minute_per_address: config.cardinality.new_subjects_per_minute_per_address,
        fold_seconds: config.events.fold_seconds,
        event_buffer: config.events.buffer,
        flushes: true,
        usage_series: config.usage.max_series,
        usage_by_user: config.usage.by_user,
        lease: config.reservations.lease_seconds * SECOND,
        directory: Some(directory),
    }
}

/// Looks for changed files until it is dropped. Reading them blocks, so it is done elsewhere.
async fn reload(every_seconds: u64, look: impl Fn() -> Reload + Clone + Send + 'static) {
    let mut ticks = clock::ticks(Duration::from_secs(every_seconds));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Err(error) = tokio::task::spawn_blocking(look.clone()).await {
            tracing::error!(%error, "looking for changed files failed");
        }
    }
}
