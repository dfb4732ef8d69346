//! A request comes in: whose it is, and what it asks for.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, atomic::AtomicU64},
};

use axum::{extract::Request, http::request::Parts};

use super::{
    super::{
        dialect::{
            failure::{Failure, Kind},
            request,
            surface::Surface,
        },
        measure::Measured,
        upstream::headers_up,
    },
    admit::{refusal, stopped},
    bodies, cache,
    call::{self, Call},
    door::{self, Caller},
    gateway::Gateway,
};
use crate::{
    clock,
    domain::{decision::Reason, record::Record},
    http::authorize::client::{self, Peer},
};

/// Parameters of a URL that go on to the provider.
const PARAMETERS: [&str; 2] = ["api-version", "beta"];

/// Reads a request: whose it is, and what it asks for.
pub(super) async fn take(
    gateway: &Arc<Gateway>,
    surface: &'static Surface,
    request: Request,
    request_id: Arc<str>,
) -> Result<Call, Failure> {
    let started = clock::instant();
    let (head, body) = request.into_parts();
    let (caller, record) = caller(gateway, surface.endpoint, &head).await?;
    if let Err(failure) = passes(gateway, surface.endpoint, &caller, &record).await {
        drop(clock::timeout(gateway.times.body, bodies::pass_over(body)).await);
        return Err(failure);
    }
    let held = clock::timeout(gateway.times.body, bodies::read(body, &gateway.memory)).await;
    let late = || Failure::new(Kind::BadRequest, "The body did not come in time.");
    let body = held.map_err(|_| late())??.finish();
    let asked = request::read(&body, surface)
        .map_err(|words| Failure::new(Kind::BadRequest, format!("The request cannot be read: {words}.")))?;
    let model = gateway.routes.meant(&asked.model);
    Ok(Call {
        gateway: gateway.clone(),
        surface,
        model,
        asked,
        measured: Measured::of(&body),
        body,
        headers: headers_up(&head.headers),
        query: head.uri.query().and_then(parameters),
        caller,
        key_id: record.key_id,
        project: record.project,
        request_id,
        started,
        is_sent: Arc::default(),
        billed: AtomicU64::new(0),
        wants_fresh: cache::wants_fresh(&head.headers),
        place: None,
        shows_cost: head.headers.get("x-keyward-cost").is_some_and(|value| value == "stream"),
    })
}

/// Who makes a request, whose key must be registered, and a record of that.
pub(super) async fn caller(
    gateway: &Arc<Gateway>,
    endpoint: &str,
    head: &Parts,
) -> Result<(Caller, Record), Failure> {
    let peer = match head.extensions.get() {
        Some(Peer::Address(address)) => *address,
        Some(Peer::Socket) | None => Ipv4Addr::LOCALHOST.into(),
    };
    let is_trusted = |address: IpAddr| gateway.proxies.iter().any(|network| network.contains(&address));
    let caller = Caller {
        secret: door::credential(&head.headers)?,
        address: client::behind(peer, &head.headers, is_trusted),
        user_agent: door::user_agent(&head.headers),
    };
    let record = known(gateway, endpoint, &caller).await?;
    Ok((caller, record))
}

/// Refuses a caller that is banned, or whose key may no longer be used, before anything else of it is read. Told as any
/// other refusal.
pub(super) async fn passes(
    gateway: &Arc<Gateway>,
    endpoint: &str,
    caller: &Caller,
    record: &Record,
) -> Result<(), Failure> {
    let now = gateway.engine.now();
    let Some(reason) = gateway.engine.stops(record, now) else { return Ok(()) };
    let Ok(mut asking) = call::take(gateway, call::wire(endpoint, caller), now) else {
        return Err(stopped(reason));
    };
    asking.project.clone_from(&record.project);
    let decision = gateway.engine.check(&asking, false, now).await;
    // A ban of its address may spare the key, which only the stored profile tells.
    if decision.allowed { Ok(()) } else { Err(refusal(&decision)) }
}

/// The parameters that go on to the provider. Others may be anything, also a credential.
fn parameters(query: &str) -> Option<String> {
    let is_kept = |pair: &&str| PARAMETERS.contains(&pair.split('=').next().unwrap_or_default());
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// A record of the caller, whose key must be registered. One that is not is reported, so that who tries keys is found.
async fn known(gateway: &Arc<Gateway>, endpoint: &str, caller: &Caller) -> Result<Record, Failure> {
    let now = gateway.engine.now();
    let unknown = || stopped(Reason::UnknownKey);
    let mut wire = call::wire(endpoint, caller);
    wire.response_status = Some(401);
    let mut record = call::take(gateway, wire, now).map_err(|_| unknown())?;
    let registry = gateway.engine.policy().registry.clone();
    let former = record.former_keys.iter().find_map(|key| registry.key(key.id()));
    let Some(held) = registry.key(&record.key_id).or(former) else {
        let engine = gateway.engine.clone();
        // Seen through also when the client goes away meanwhile.
        let reported = tokio::spawn(async move { engine.record(&[record], now).await });
        drop(reported.await);
        return Err(unknown());
    };
    record.project = held.body.project.as_deref().map(crate::domain::subject::Subject::project);
    Ok(record)
}
