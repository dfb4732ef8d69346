//! `/v1/authorize` and all below it, by any method: what a reverse proxy asks before it passes a request on. The status
//! is the answer.
//!
//! `keys` looks for the key in every place, `original` for the request that is asked about, `client` for the address,
//! `options` for what is asked; `verdict` writes the answer. No body is read. The rules about hosts and origins do not
//! hold here, since both are the client's; nor does `Authorization`, so that the token comes in `X-Keyward-Token`.

pub(crate) mod client;
mod keys;
mod options;
pub(in crate::http) mod original;
pub(in crate::http) mod verdict;

use std::{
    net::IpAddr,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, header, request::Parts},
    response::Response,
    routing::any,
};
use tower_http::catch_panic::CatchPanicLayer;

use self::{
    client::Peer,
    keys::Found,
    options::Options,
    original::{OriginalRequest, PREFIX},
    verdict::{Refusal, Refused, Verdict},
};
use super::{App, AppState, error::ApiError, layers};
use crate::{
    config::{self, TrustedNetwork, WithoutKey},
    domain::{Millis, decision::Decision, record::Record, reservation::HoldTerms, scope::Scope},
    intake::{WireCheck, new_request_id},
};

/// Keyward's own token, since `Authorization` is the client's.
pub(super) const TOKEN: &str = "x-keyward-token";
/// The code of a question without a token that it needs.
pub(super) const TOKEN_REFUSED: &str = "TOKEN_REFUSED";
/// The code of a question with something that is no option.
const OPTION_UNKNOWN: &str = "OPTION_UNKNOWN";
/// The longest name of a client that is kept, in bytes.
pub(super) const MOST_AGENT: usize = 1024;
/// The longest id of a request, in bytes.
const MOST_ID: usize = 128;
/// A mistake of whoever set up the proxy is in the log this often, in milliseconds, however many requests meet it.
const LOG_EVERY: Millis = 10_000;

/// How `/v1/authorize` looks at requests, and what firewalls are given.
pub struct Authorize {
    settings: config::AuthorizeConfig,
    trusted: Vec<TrustedNetwork>,
    options: Options,
    /// Whether firewalls get the bans of detectors, too.
    pub(super) exports_detector_bans: bool,
    /// When a mistake was logged last.
    logged: AtomicI64,
}

impl Authorize {
    /// As the settings have it.
    pub fn new(server: &config::Server, settings: &config::AuthorizeConfig) -> Self {
        Self {
            settings: settings.clone(),
            trusted: server.trusted_proxies.clone(),
            options: Options::of(settings),
            exports_detector_bans: server.export_detector_bans,
            logged: AtomicI64::new(0),
        }
    }
}

/// The routes that ask for a token, where any is configured.
pub(super) fn routes() -> Router<App> {
    every_path(async |State(app): State<App>, request: Request| {
        let (head, _) = request.into_parts();
        let admitted = app.auth.admit_token(token(&head.headers), Scope::Record, || app.engine.now());
        let mistake = admitted.err().map(|error| (TOKEN_REFUSED, format!("{TOKEN}: {error}")));
        authorize(&app, &head, mistake).await
    })
}

/// The routes of a listener of their own, which asks for none.
pub(super) fn routes_without_token() -> Router<App> {
    every_path(async |State(app): State<App>, request: Request| {
        authorize(&app, &request.into_parts().0, None).await
    })
}

fn every_path<H, T>(handler: H) -> Router<App>
where
    H: axum::handler::Handler<T, App>,
    T: 'static,
{
    let paths = [PREFIX.to_owned(), format!("{PREFIX}/"), format!("{PREFIX}/{{*path}}")];
    let router = paths.iter().fold(Router::new(), |router, path| router.route(path, any(handler.clone())));
    router.layer(CatchPanicLayer::custom(layers::panicked))
}

/// The token that the proxy shows; empty without one. The scheme is not asked for, and forgiven.
pub(super) fn token(headers: &HeaderMap) -> &str {
    let text = headers.get(TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    text.strip_prefix("Bearer ").unwrap_or(text).trim()
}

/// Asks about the request of a client for the reverse proxy in front of it, and answers by the status: 200 it may pass,
/// 401 it has no key or none that is known, 403 it is refused, 429 a limit is exceeded, 503 it cannot be said. Any
/// method, and any path below; no body is read.
#[utoipa::path(
    get, path = "/v1/authorize", tag = "records", operation_id = "authorize",
    params(
        ("without_key" = Option<String>, Query, description = "`allow` or `refuse`: what one without a key gets."),
        ("observe" = Option<bool>, Query, description = "Counts the request at once; its record completes it."),
        ("reserve" = Option<bool>, Query, description = "Holds the estimate until the record names the reservation."),
        ("estimated_tokens" = Option<u64>, Query, description = "Tokens that the request is asked about with."),
        ("lease_seconds" = Option<u64>, Query, description = "For how long they are held, 1 to 3600."),
        ("model" = Option<String>, Query, description = "The model whose price the estimate has."),
        ("X-Keyward-Token" = Option<String>, Header, description = "A token with the scope `record`."),
        ("X-Forwarded-Uri" = Option<String>, Header, description = "The original request, from a trusted proxy."),
        ("X-Original-URI" = Option<String>, Header, description = "The same, as nginx is set up."),
        ("X-Forwarded-For" = Option<String>, Header, description = "The client's address, from a trusted proxy."),
    ),
    responses(
        (status = 200, description = "The request may pass. The body is empty.", headers(
            ("X-Keyward-Decision" = String, description = "`allow`, `deny` or `misconfigured`."),
            ("X-Keyward-Reason" = String, description = "`NONE`, `NO_KEY`, or why it would be refused."),
            ("X-Keyward-Key-Id" = String, description = "Public id of the key; empty without one."),
            ("X-Keyward-Request-Id" = String, description = "The id by which a record completes it."),
            ("X-Keyward-Reservation" = String, description = "What the record settles; empty without one."),
            ("RateLimit-Policy" = String, description = "Every limit (draft-ietf-httpapi-ratelimit-headers-11)."),
            ("RateLimit" = String, description = "The tightest limit."),
        )),
        (status = 401, description = "The key is missing, malformed or unknown.", body = Refused),
        (status = 403, description = "A ban, a key that is not allowed here, or two keys.", body = Refused),
        (status = 429, description = "A limit or a budget; `Retry-After` where it is known.", body = Refused),
        (status = 503, description = "The store is away and the policy denies; or `misconfigured`.", body = Refused),
    ),
)]
pub(super) async fn authorize(
    app: &App,
    request: &Parts,
    mistake: Option<(&'static str, String)>,
) -> Response {
    let question = Question::of(app, request);
    let options = match mistake {
        Some(mistake) => Err(mistake),
        None => question.options().map_err(|wrong| (OPTION_UNKNOWN, wrong)),
    };
    question.answer_by(options).await
}

/// The same for a request that a proxy describes in a message of its own. What it says of request and client is
/// believed; options are named beside it, where no client can name any. The path is below that of the route.
pub(super) async fn authorize_described<'a>(
    app: &App,
    request: &Parts,
    options: impl Iterator<Item = (&'a str, &'a str)>,
) -> Response {
    let options = options.map(|(name, value)| (name.into(), value.into()));
    let options = app.authorize.options.clone().with_pairs(options);
    Question::described(app, request).answer_by(options.map_err(|wrong| (OPTION_UNKNOWN, wrong))).await
}

/// The answer that a decision is told by.
pub(super) fn answer(decision: Decision) -> Response {
    Verdict::Decided(Box::new(decision)).into_response("")
}

/// The answer where whoever set up the proxy made a mistake.
pub(super) fn misconfigured(app: &App, code: &'static str) -> Response {
    Verdict::Misconfigured(code).into_response(&new_request_id(app.engine.now()))
}

/// The answer about a request that cannot be read: a key in it would be read by others.
pub(super) fn refuse_unreadable(app: &App) -> Response {
    refused(app, Refusal::MalformedKey).into_response(&new_request_id(app.engine.now()))
}

/// A refusal that the engine has no part in; while the policy observes, only its reason.
fn refused(app: &App, refusal: Refusal) -> Verdict {
    let observes = app.engine.policy().observes();
    if observes { Verdict::WouldBeRefused(refusal) } else { Verdict::Refused(refusal) }
}

/// What a proxy asks.
struct Question<'r> {
    app: &'r App,
    request: &'r Parts,
    original: OriginalRequest<'r>,
    address: IpAddr,
    /// The id that the proxy gave.
    request_id: Option<&'r str>,
    now: Millis,
}

impl<'r> Question<'r> {
    fn of(app: &'r App, request: &'r Parts) -> Self {
        let Authorize { settings, trusted, .. } = &app.authorize;
        let headers = &request.headers;
        // Only a test has no connection.
        let peer = request.extensions.get().copied().unwrap_or(Peer::Socket);
        let is_trusted = peer.is_trusted(trusted);
        let now = app.engine.now();
        let named = settings.request_id_header.0.as_ref().filter(|_| is_trusted);
        let given = named.and_then(|name| headers.get(&name.0)?.to_str().ok()).filter(|id| is_id(id));
        Self {
            app,
            request,
            original: original::of(&request.uri, headers, is_trusted, settings.original),
            address: client::address_of(peer, headers, trusted, settings.address_header),
            request_id: given,
            now,
        }
    }

    /// One that the proxy describes.
    fn described(app: &'r App, request: &'r Parts) -> Self {
        let Authorize { settings, trusted, .. } = &app.authorize;
        let headers = &request.headers;
        let source = request.extensions.get().copied().unwrap_or(Peer::Socket);
        let named = settings.request_id_header.0.as_ref();
        Self {
            app,
            request,
            original: original::of(&request.uri, headers, false, config::Original::Path),
            address: client::address_of(source, headers, trusted, settings.address_header),
            request_id: named.and_then(|name| headers.get(&name.0)?.to_str().ok()).filter(|id| is_id(id)),
            now: app.engine.now(),
        }
    }

    /// The answer where options could be read, and else that of a mistake: its code, and what is wrong.
    async fn answer_by(&self, options: Result<Options, (&'static str, String)>) -> Response {
        let verdict = match options {
            Ok(options) => self.answer(&options).await,
            Err((code, why)) => {
                log_mistake(self.app, &why);
                Verdict::Misconfigured(code)
            }
        };
        let own = || new_request_id(self.now);
        verdict.into_response(&self.request_id.map_or_else(own, str::to_owned))
    }

    /// What is asked for: the query says it on exactly the route, where it is the proxy's.
    fn options(&self) -> Result<Options, String> {
        let Authorize { settings, options, .. } = &self.app.authorize;
        let uri = &self.request.uri;
        match uri.query().filter(|_| uri.path() == PREFIX) {
            Some(query) if self.original.names(query) => Err(
                "the query of /v1/authorize is that of the client, who could set options by it: have the proxy send \
                 none (in Caddy: uri /v1/authorize?)"
                    .to_owned(),
            ),
            Some(query) => options.clone().with_query(query, &settings.keys),
            None => Ok(options.clone()),
        }
    }

    async fn answer(&self, options: &Options) -> Verdict {
        let places = &self.app.authorize.settings.keys;
        match keys::find(places, &self.request.headers, &self.original.queries) {
            Found::One(key) => self.decide(key, options).await,
            Found::Ambiguous => refused(self.app, Refusal::AmbiguousKey),
            Found::Malformed => refused(self.app, Refusal::MalformedKey),
            Found::None if options.without_key == WithoutKey::Refuse => {
                refused(self.app, Refusal::MissingKey)
            }
            Found::None => self.without_key(),
        }
    }

    /// A ban of the address holds for requests without a key, too.
    fn without_key(&self) -> Verdict {
        let Some(ban) = self.app.engine.ban_of_address(self.address, self.now) else {
            return Verdict::PassesWithoutKey;
        };
        let seconds = ban.until.map(|until| ((until - self.now).max(1) as u64).div_ceil(1000));
        refused(self.app, Refusal::BannedAddress { seconds })
    }

    async fn decide(&self, key: String, options: &Options) -> Verdict {
        let wire = self.check(key, options);
        let hold = wire.hold();
        let wire = if options.observe { wire.observed() } else { wire.into() };
        let decided = match (hold, self.app.take(wire, self.now)) {
            (Ok(hold), Ok(record)) => self.app.authorize(record, hold, self.now).await,
            // What is the client's was brought into its bounds, and what is the proxy's was checked.
            (Err(_), _) | (_, Err(_)) => return refused(self.app, Refusal::MalformedKey),
        };
        decided.map_or(Verdict::Misconfigured("INTERNAL"), |decision| Verdict::Decided(Box::new(decision)))
    }

    fn check(&self, key: String, options: &Options) -> WireCheck {
        let agent = self.request.headers.get(header::USER_AGENT);
        let agent = agent.map(|value| cut(&String::from_utf8_lossy(value.as_bytes()), MOST_AGENT));
        WireCheck {
            api_key: Some(key),
            source_ip: self.address.to_string(),
            endpoint: Some(self.original.path.clone()),
            user_agent: agent,
            model: options.model.clone(),
            // What is counted at once has used nothing yet.
            estimated_tokens: Some(options.estimated_tokens).filter(|tokens| *tokens > 0 && !options.observe),
            request_id: self.request_id.map(str::to_owned),
            reserve: options.reserve.then_some(true),
            lease_seconds: options.lease_seconds.filter(|_| options.reserve),
            ..WireCheck::default()
        }
    }
}

/// Logs a mistake of whoever set up the proxy, which is none of the client's.
pub(super) fn log_mistake(app: &App, why: &str) {
    let (logged, now) = (&app.authorize.logged, app.engine.now());
    let last = logged.load(Relaxed);
    if now - last >= LOG_EVERY && logged.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
        tracing::error!(why, "a proxy asks in a way that cannot be answered");
    }
}

impl AppState {
    /// Decides about a request that a proxy asks about. It is seen through also when the proxy goes away meanwhile.
    async fn authorize(
        &self,
        record: Record,
        hold: Option<HoldTerms>,
        now: Millis,
    ) -> Result<Decision, ApiError> {
        let engine = self.engine.clone();
        if record.observes {
            return self.record(vec![record], now).await?.pop().ok_or(ApiError::Internal);
        }
        let check = tokio::spawn(async move {
            match hold {
                Some(terms) => engine.reserve(&record, terms, now).await,
                None => engine.check(&record, false, now).await,
            }
        });
        check.await.map_err(|_| ApiError::Internal)
    }
}

/// Whether a text can be the id of a request.
fn is_id(text: &str) -> bool {
    (1..=MOST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}
