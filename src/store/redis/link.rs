//! The connection as the store uses it: it fails fast when it is down and comes back by itself.
//!
//! One task owns the dialer. Whoever sees the connection fail tells it the generation that failed; it replaces
//! that one once, however many tell it. Calls made meanwhile wait for the new connection no longer than for an
//! answer, and not at all once an attempt has failed. The client's own manager would keep a connection whose
//! answers stay out, and one to a master that became a replica; so three waves of missing answers in a row, or
//! one READONLY, count as a failure here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::{
    Cmd, Pipeline, RedisError, RedisResult, Value,
    aio::ConnectionLike,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    RedisOptions,
    dial::{Connection, Dialer},
    error::{is_misrouted, is_no_script, is_read_only, translate},
    scripts::Call,
    url::Target,
};
use crate::{
    clock::{self, Instant},
    store::StoreError,
};

/// Missing answers in a row after which the connection is replaced.
const MISSES: u32 = 3;
/// A caller that gave up after this long counts as a missing answer (it has a deadline of its own).
const PATIENCE: Duration = Duration::from_millis(40);
/// Between two attempts to connect, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
enum State {
    Up { connection: Connection, generation: u64 },
    Connecting,
    Down(StoreError),
}

/// A connection that is replaced when it fails, by a task of its own.
pub(super) struct Link {
    state: watch::Receiver<State>,
    broken: mpsc::UnboundedSender<u64>,
    misses: Arc<AtomicU32>,
    wait: Duration,
    secret: Option<String>,
    keeper: JoinHandle<()>,
    /// False where the server was away at the start and was not reached since.
    is_open: AtomicBool,
}

/// What one command was answered.
pub(super) type Reply = RedisResult<Value>;

impl Link {
    /// Connects for the first time.
    pub(super) async fn connect(target: &Target, options: &RedisOptions) -> Result<Self, StoreError> {
        install_tls();
        let secret = target.secret().map(str::to_owned);
        let mut dialer = Dialer::new(target, options).map_err(|e| translate(&e, secret.as_deref()))?;
        let connection = dialer.dial().await.map_err(|e| translate(&e, secret.as_deref()))?;
        Ok(Self::with(dialer, State::Up { connection, generation: 0 }, options, secret))
    }

    /// A link that is closed, and connects by itself; it sends nothing before [`Link::open`].
    pub(super) fn later(target: &Target, options: &RedisOptions) -> Result<Self, StoreError> {
        install_tls();
        let secret = target.secret().map(str::to_owned);
        let dialer = Dialer::new(target, options).map_err(|e| translate(&e, secret.as_deref()))?;
        let away = StoreError::Unavailable("it was away when the service started".into());
        let link = Self::with(dialer, State::Down(away), options, secret);
        link.is_open.store(false, Ordering::Release);
        link.report_broken(0);
        Ok(link)
    }

    fn with(dialer: Dialer, first: State, options: &RedisOptions, secret: Option<String>) -> Self {
        let (sender, state) = watch::channel(first);
        let (broken, reports) = mpsc::unbounded_channel();
        let misses = Arc::new(AtomicU32::new(0));
        let keeper = tokio::spawn(keep(dialer, sender, reports, misses.clone(), secret.clone()));
        let is_open = AtomicBool::new(true);
        Self { state, broken, misses, wait: options.response_timeout, secret, keeper, is_open }
    }

    /// From now on it sends what it is asked to.
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    /// Sends commands that may belong to several slots, together: one pipeline to one server; on a cluster one
    /// per group, at the same time. Each group must stay in one slot; within it, order is kept.
    pub(super) async fn send(&self, groups: Vec<Vec<Cmd>>) -> Result<Vec<Vec<Reply>>, StoreError> {
        let (connection, generation) = self.connection().await?;
        let flight = self.flight(generation);
        let sent = match connection {
            Connection::Single(connection) => send_merged(connection, groups).await,
            Connection::Cluster(connection) => {
                let each = groups.into_iter().map(|group| send_routed(connection.clone(), group));
                futures::future::try_join_all(each).await
            }
        };
        flight.land(&sent);
        sent.map_err(|e| self.translate(&e))
    }

    /// Sends one command; nil for no answer at all.
    pub(super) async fn command(&self, command: Cmd) -> Result<Value, StoreError> {
        let mut groups = self.send(vec![vec![command]]).await?;
        let reply = groups.pop().and_then(|mut group| group.pop());
        reply.unwrap_or(Ok(Value::Nil)).map_err(|e| self.translate(&e))
    }

    /// Sends one command that names no key; on a cluster to the master that has this one.
    pub(super) async fn command_at(&self, key: &str, command: Cmd) -> Result<Value, StoreError> {
        let (connection, generation) = self.connection().await?;
        let Connection::Cluster(mut connection) = connection else { return self.command(command).await };
        let flight = self.flight(generation);
        let route = Route::with_key(key, SlotAddr::Master);
        let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
        let sent = match connection.route_command(command, routing).await {
            // An answer, if not one that was hoped for.
            Err(error) if error.code().is_some() => Ok(Err(error)),
            answer => answer.map(Ok),
        };
        let sent = sent.map(|reply| vec![vec![reply]]);
        flight.land(&sent);
        let reply = sent.map_err(|e| self.translate(&e))?.pop().and_then(|mut group| group.pop());
        reply.unwrap_or(Ok(Value::Nil)).map_err(|e| self.translate(&e))
    }

    fn flight(&self, generation: u64) -> Flight<'_> {
        Flight { link: self, generation, started: clock::instant(), misses: self.misses(), landed: false }
    }

    /// Calls scripts, grouped as in [`Link::send`]; those that a server does not have are sent again with their
    /// source. Where only some were missing (a flush in between), their order among the others may change.
    pub(super) async fn call_all(&self, groups: &[Vec<Call>]) -> Result<Vec<Vec<Reply>>, StoreError> {
        let by_hash = groups.iter().map(|group| group.iter().map(Call::by_hash).collect()).collect();
        let mut replies = self.send(by_hash).await?;
        let missing = |reply: &Reply| reply.as_ref().is_err_and(is_no_script);
        if replies.iter().flatten().any(missing) {
            let again = groups.iter().zip(&replies).map(|(group, replies)| {
                group.iter().zip(replies).filter(|(_, r)| missing(r)).map(|(c, _)| c.by_source()).collect()
            });
            let again = self.send(again.collect()).await?;
            for (group, again) in replies.iter_mut().zip(again) {
                group.iter_mut().filter(|r| missing(r)).zip(again).for_each(|(reply, new)| *reply = new);
            }
        }
        Ok(replies)
    }

    /// Calls one script, as [`Link::call_all`] does.
    pub(super) async fn call(&self, call: Call) -> Result<Value, StoreError> {
        let mut groups = self.call_all(&[vec![call]]).await?;
        let reply = groups.pop().and_then(|mut group| group.pop());
        reply.unwrap_or(Ok(Value::Nil)).map_err(|e| self.translate(&e))
    }

    /// What an error means, without secrets.
    pub(super) fn translate(&self, error: &RedisError) -> StoreError {
        // It was sent, and may be done all the same.
        if error.is_timeout() {
            return StoreError::Deadline(self.wait);
        }
        translate(error, self.secret.as_deref())
    }

    fn misses(&self) -> u32 {
        self.misses.load(Ordering::Relaxed)
    }

    async fn connection(&self) -> Result<(Connection, u64), StoreError> {
        if !self.is_open.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("it was away when the service started".into()));
        }
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting));
        let settled = clock::timeout(self.wait, settled).await.ok().and_then(Result::ok);
        match settled.as_deref() {
            Some(State::Up { connection, generation }) => Ok((connection.clone(), *generation)),
            Some(State::Down(error)) => Err(error.clone()),
            _ => Err(StoreError::Unavailable("it is being connected to".into())),
        }
    }

    fn report_broken(&self, generation: u64) {
        // Nobody listens only when the store is being dropped.
        let _ = self.broken.send(generation);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A call under way; whatever becomes of it, also that it is given up, is counted.
struct Flight<'a> {
    link: &'a Link,
    generation: u64,
    started: Instant,
    misses: u32,
    landed: bool,
}

impl Flight<'_> {
    fn land(mut self, sent: &RedisResult<Vec<Vec<Reply>>>) {
        self.landed = true;
        match sent {
            Ok(replies) => {
                self.link.misses.store(0, Ordering::Relaxed);
                if replies.iter().flatten().any(|r| r.as_ref().is_err_and(is_read_only)) {
                    self.link.report_broken(self.generation);
                }
            }
            Err(error) if error.is_timeout() => self.miss(),
            Err(_) => self.link.report_broken(self.generation),
        }
    }

    /// Calls that went out together and miss their answers together are one miss.
    fn miss(&self) {
        let (before, counter) = (self.misses, &self.link.misses);
        let counted = counter.compare_exchange(before, before + 1, Ordering::Relaxed, Ordering::Relaxed);
        if counted.is_ok() && before + 1 >= MISSES {
            self.link.report_broken(self.generation);
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.landed && self.started.elapsed() >= PATIENCE {
            self.miss();
        }
    }
}

async fn keep(
    mut dialer: Dialer,
    state: watch::Sender<State>,
    mut reports: mpsc::UnboundedReceiver<u64>,
    misses: Arc<AtomicU32>,
    secret: Option<String>,
) {
    let mut current = 0;
    let mut dialed = clock::instant();
    while let Some(generation) = reports.recv().await {
        if generation != current {
            continue;
        }
        // A connection that broke right after it was made is not tried again in a tight loop.
        let mut pause = FIRST_PAUSE;
        if dialed.elapsed() < pause {
            state.send_replace(State::Down(StoreError::Unavailable("the connection keeps breaking".into())));
            clock::sleep(pause).await;
        } else {
            state.send_replace(State::Connecting);
        }
        let connection = loop {
            match dialer.dial().await {
                Ok(connection) => break connection,
                Err(error) => {
                    state.send_replace(State::Down(translate(&error, secret.as_deref())));
                    clock::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        };
        current += 1;
        dialed = clock::instant();
        misses.store(0, Ordering::Relaxed);
        tracing::info!("connected to the store again");
        state.send_replace(State::Up { connection, generation: current });
    }
}

async fn send_merged<C: ConnectionLike>(
    mut connection: C,
    groups: Vec<Vec<Cmd>>,
) -> RedisResult<Vec<Vec<Reply>>> {
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let mut replies = exchange(&mut connection, &pipeline(groups.into_iter().flatten())).await?.into_iter();
    Ok(sizes.into_iter().map(|size| replies.by_ref().take(size).collect()).collect())
}

/// On a cluster a pipeline does not follow redirections; the commands that were redirected are sent again, one
/// by one, in their order, which the client follows up.
async fn send_routed<C: ConnectionLike>(mut connection: C, group: Vec<Cmd>) -> RedisResult<Vec<Reply>> {
    let pipeline = pipeline(group.into_iter());
    let mut replies = exchange(&mut connection, &pipeline).await?;
    for (reply, command) in replies.iter_mut().zip(pipeline.cmd_iter()) {
        if reply.as_ref().is_err_and(is_misrouted) {
            *reply = command.query_async(&mut connection).await;
        }
    }
    Ok(replies)
}

fn pipeline(commands: impl Iterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    commands.for_each(|command| {
        pipeline.add_command(command);
    });
    pipeline.ignore_errors();
    pipeline
}

async fn exchange<C: ConnectionLike>(connection: &mut C, pipeline: &Pipeline) -> RedisResult<Vec<Reply>> {
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    pipeline.query_async(connection).await
}

/// The TLS library asks for its cryptography to be named once per process; another part may have done so.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
