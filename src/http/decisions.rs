//! `/v1/decisions`: bans of addresses in the words of CrowdSec's local API, so that its bouncers enforce them.
//!
//! A firewall spares nobody. So only those bans are exported that a person ordered: those of detectors spare keys with
//! a past from there, which nobody knows before they ask. A setting exports those, too.

use std::collections::{BTreeMap, HashMap};

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use ipnet::IpNet;
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    authorize::client::Peer,
    error::{ApiError, Problem},
    input::JsonDocument,
    params::Params,
};
use crate::{
    domain::{
        Millis, SECOND,
        actor::Actor,
        address,
        scope::Scope,
        stable_hash,
        standing::Origin,
        subject::{Subject, SubjectKind},
    },
    store::{StandingRecord, StoreError},
};

/// Where bouncers put their key.
const API_KEY: &str = "x-api-key";
/// How long a ban for good is said to last: a decision has an end.
const FOR_GOOD: Millis = 10 * 365 * 24 * 3600 * SECOND;
/// Bouncers that are told apart; of more, the one that was silent longest begins anew.
const MOST_BOUNCERS: usize = 256;
/// What a bouncer may ask a list to be narrowed by.
const FILTERS: [&str; 8] = [
    "type",
    "scopes",
    "origins",
    "scenarios_containing",
    "scenarios_not_containing",
    "dedup",
    "additional_pull",
    "community_pull",
];

/// One ban of an address or a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct BouncerDecision {
    /// Names the subject; the same for each ban of it.
    id: u64,
    /// `keyward`, always.
    #[schema(value_type = String, example = "keyward")]
    origin: &'static str,
    /// `ban`, always.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "ban")]
    kind: &'static str,
    /// `Ip` or `Range`.
    #[schema(value_type = String, example = "Ip")]
    scope: &'static str,
    /// The address or the network.
    #[schema(example = "203.0.113.7")]
    value: String,
    /// How long it still lasts, as Go writes spans; ten years stand for good.
    #[schema(example = "3h59m12s")]
    duration: String,
    /// Why, in a sentence.
    scenario: String,
}

/// What changed since a bouncer asked last.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct DecisionStream {
    /// Bans that are new, or last another time.
    new: Vec<BouncerDecision>,
    /// Bans that hold no longer.
    deleted: Vec<BouncerDecision>,
}

/// A ban as it is sent: with its end, which changes where it is prolonged.
#[derive(Debug, Clone)]
struct ExportedBan {
    decision: BouncerDecision,
    until: Option<Millis>,
}

/// What each bouncer was sent last, by its subjects.
#[derive(Debug, Default)]
pub struct Bouncers(Mutex<HashMap<String, Pulled>>);

#[derive(Debug, Default)]
struct Pulled {
    at: Millis,
    sent: BTreeMap<String, ExportedBan>,
}

impl Bouncers {
    /// What is new to a bouncer, and what no longer holds; from the start: all that holds.
    fn pull(
        &self,
        who: &str,
        from_the_start: bool,
        bans: BTreeMap<String, ExportedBan>,
        now: Millis,
    ) -> DecisionStream {
        let mut bouncers = self.0.lock();
        let before = bouncers.remove(who).filter(|_| !from_the_start).unwrap_or_default().sent;
        if bouncers.len() >= MOST_BOUNCERS {
            let silent = bouncers.iter().min_by_key(|(_, pulled)| pulled.at).map(|(name, _)| name.clone());
            silent.into_iter().for_each(|name| drop(bouncers.remove(&name)));
        }
        let is_new = |(name, ban): &(&String, &ExportedBan)| {
            before.get(*name).is_none_or(|was| was.until != ban.until)
        };
        let new = bans.iter().filter(is_new).map(|(_, ban)| ban.decision.clone()).collect();
        let gone = before.iter().filter(|(name, _)| !bans.contains_key(*name));
        let ended = |ban: &ExportedBan| BouncerDecision { duration: go_span(0), ..ban.decision.clone() };
        let deleted = gone.map(|(_, ban)| ended(ban)).collect();
        bouncers.insert(who.to_owned(), Pulled { at: now, sent: bans });
        DecisionStream { new, deleted }
    }
}

/// Lets a bouncer in by its `X-Api-Key`, or anybody by the token that other routes take.
pub(super) async fn require_key(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (headers, now) = (request.headers(), || app.engine.now());
    let key = headers.get(API_KEY).map(|key| key.to_str().unwrap_or_default());
    let actor = match key {
        Some(key) => app.auth.admit_token(key, Scope::Read, now)?,
        None => app.auth.admit(headers, Scope::Read, now)?,
    };
    request.extensions_mut().insert(actor);
    Ok(next.run(request).await)
}

/// Lists the bans of addresses as CrowdSec's local API does: all, or those that cover an address or a network.
#[utoipa::path(
    get, path = "/v1/decisions", tag = "bouncers", operation_id = "list_decisions",
    params(
        ("ip" = Option<String>, Query, description = "Only those that cover this address."),
        ("range" = Option<String>, Query, description = "Only those that cover this network."),
        ("contains" = Option<bool>, Query, description = "`false`: only those within that address or network instead."),
        ("value" = Option<String>, Query, description = "Only that of this address or network."),
        ("scope" = Option<String>, Query, description = "`ip` or `range`."),
        ("type" = Option<String>, Query, description = "`ban` is the only one that there is."),
        ("X-Api-Key" = Option<String>, Header, description = "A token with the scope `read`."),
    ),
    responses(
        (status = 200, body = Vec<BouncerDecision>, description = "The bans; null where there are none."),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "A bad parameter."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away."),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    params: Params,
) -> Result<Json<Option<Vec<BouncerDecision>>>, ApiError> {
    let params = params.only(&[&["ip", "range", "contains", "value", "scope"][..], &FILTERS].concat())?;
    let asked = covered(&params)?;
    let contains = params.get("contains", "true or false", |text| text.parse::<bool>().ok())?.unwrap_or(true);
    let fits = |asked: IpNet, ban: IpNet| if contains { ban.contains(&asked) } else { asked.contains(&ban) };
    let bans = bans(&app, &params).await?.into_values().map(|ban| ban.decision);
    let scope = params.text("scope");
    let bans: Vec<BouncerDecision> = bans
        .filter(|ban| {
            asked.is_none_or(|asked| network(&ban.value).is_some_and(|network| fits(asked, network)))
        })
        .filter(|ban| params.text("value").is_none_or(|value| value == ban.value))
        .filter(|ban| scope.is_none_or(|scope| scope.eq_ignore_ascii_case(ban.scope)))
        .collect();
    Ok(Json((!bans.is_empty()).then_some(bans)))
}

/// Tells a bouncer what changed since it asked last, on this instance; with `startup=true` all that holds.
#[utoipa::path(
    get, path = "/v1/decisions/stream", tag = "bouncers", operation_id = "stream_decisions",
    params(
        ("startup" = Option<bool>, Query, description = "Begins anew: all bans are told as new ones."),
        ("scopes" = Option<String>, Query, description = "`ip`, `range` or both, by commas."),
        ("origins" = Option<String>, Query, description = "Nothing is told where `keyward` is not among them."),
        ("scenarios_containing" = Option<String>, Query, description = "Words of which the reason has one, by commas."),
        ("scenarios_not_containing" = Option<String>, Query, description = "Words of which it has none."),
        ("X-Api-Key" = Option<String>, Header, description = "A token with the scope `read`."),
    ),
    responses(
        (status = 200, body = DecisionStream, description = "What changed."),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "A bad parameter."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away."),
    ),
)]
pub(super) async fn changes(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Json<DecisionStream>, ApiError> {
    let params = params.only(&[&["startup"][..], &FILTERS].concat())?;
    let startup =
        params.get("startup", "true or false", |text| text.parse::<bool>().ok())?.unwrap_or_default();
    let bans = bans(&app, &params).await?;
    let agent = headers.get(header::USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    // Several bouncers may share a token: each is told its own changes.
    let who = format!("{} {:?} {}", actor.as_str(), peer.map(|peer| peer.0), agent.unwrap_or_default());
    Ok(Json(app.bouncers.pull(&who, startup, bans, app.engine.now())))
}

/// Takes what a bouncer says about itself, and keeps nothing of it.
#[utoipa::path(
    post, path = "/v1/usage-metrics", tag = "bouncers", operation_id = "bouncer_metrics",
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses(
        (status = 201, description = "It was read and dropped."),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "It is no JSON."),
    ),
)]
pub(super) async fn metrics(JsonDocument(body): JsonDocument) -> Result<StatusCode, ApiError> {
    let read: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&body);
    read.map(|_| StatusCode::CREATED).map_err(|_| ApiError::Syntax("the body is not valid JSON".to_owned()))
}

/// The network that decisions are asked to cover.
fn covered(params: &Params) -> Result<Option<IpNet>, ApiError> {
    let must = "an address or a network, such as 203.0.113.7 or 203.0.113.0/24";
    let ip = params.get("ip", must, |text| address::parse(text).ok().map(IpNet::from))?;
    Ok(ip.or(params.get("range", must, network)?))
}

fn network(text: &str) -> Option<IpNet> {
    address::parse_network(text).ok()
}

/// The bans that a bouncer may know of, narrowed as it asks, by their subjects.
async fn bans(app: &App, params: &Params) -> Result<BTreeMap<String, ExportedBan>, ApiError> {
    let now = app.engine.now();
    let is_asked_for = |name: &str, has: &str| {
        params.text(name).is_none_or(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(has)))
    };
    let has_word = |name: &str, text: &str| {
        params.text(name).map(|list| list.split(',').any(|word| text.contains(word.trim())))
    };
    if !is_asked_for("origins", "keyward") || !is_asked_for("type", "ban") || app.engine.policy().observes() {
        return Ok(BTreeMap::new());
    }
    let records = in_force(app, now).await?;
    let exported =
        records.iter().filter_map(|record| Some((record.subject.to_string(), exported(record, now)?)));
    let asked = exported.filter(|(_, ban)| {
        let scenario = &ban.decision.scenario;
        is_asked_for("scopes", ban.decision.scope)
            && has_word("scenarios_containing", scenario).unwrap_or(true)
            && !has_word("scenarios_not_containing", scenario).unwrap_or(false)
    });
    Ok(asked.collect())
}

/// The bans of addresses that firewalls are given.
async fn in_force(app: &App, now: Millis) -> Result<Vec<StandingRecord>, StoreError> {
    let mut records = app.engine.store().standings_in_force(now).await?;
    let is_given = |origin: Origin| origin == Origin::Operator || app.authorize.exports_detector_bans;
    records.retain(|record| {
        record.subject.kind() == SubjectKind::Ip
            && record.standing.is_banned_at(now)
            && !record.standing.unenforced
            && is_given(record.standing.origin)
    });
    Ok(records)
}

fn exported(record: &StandingRecord, now: Millis) -> Option<ExportedBan> {
    let subject: &Subject = &record.subject;
    let scope = if subject.id().contains('/') { "Range" } else { "Ip" };
    let until = record.standing.until;
    let decision = BouncerDecision {
        // Half of it, so that it is a positive number to whoever reads it with a sign.
        id: stable_hash(subject.as_str().as_bytes()) >> 1,
        origin: "keyward",
        kind: "ban",
        scope,
        value: subject.network().map(|_| subject.id().to_owned())?,
        duration: go_span(until.map_or(FOR_GOOD, |until| until - now)),
        scenario: record.detail.reason.clone(),
    };
    Some(ExportedBan { decision, until })
}

/// A span as Go's `time.ParseDuration` reads it, in whole seconds.
fn go_span(span: Millis) -> String {
    let seconds = (span.max(0) as u64).div_ceil(1000);
    format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bans(named: &[(&str, Millis)]) -> BTreeMap<String, ExportedBan> {
        let ban = |(value, until): &(&str, Millis)| {
            let decision = BouncerDecision {
                id: 1,
                origin: "keyward",
                kind: "ban",
                scope: "Ip",
                value: (*value).to_owned(),
                duration: go_span(*until),
                scenario: "leaked".to_owned(),
            };
            ((*value).to_owned(), ExportedBan { decision, until: Some(*until) })
        };
        named.iter().map(ban).collect()
    }

    /// Values of what is new, and of what is deleted.
    fn values(changes: &DecisionStream) -> (String, String) {
        let of = |list: &[BouncerDecision]| {
            list.iter().map(|ban| ban.value.as_str()).collect::<Vec<_>>().join(" ")
        };
        (of(&changes.new), of(&changes.deleted))
    }

    #[test]
    fn a_bouncer_gets_what_changed_since_it_asked_and_all_of_it_from_the_start() {
        let bouncers = Bouncers::default();
        let pull =
            |who: &str, startup: bool, named: &[(&str, Millis)]| bouncers.pull(who, startup, bans(named), 0);
        let both = |new: &str, deleted: &str| (new.to_owned(), deleted.to_owned());
        assert_eq!(values(&pull("a", true, &[("1", 9), ("2", 9)])), both("1 2", ""));
        assert_eq!(values(&pull("a", false, &[("1", 9), ("2", 9)])), both("", ""));
        assert_eq!(values(&pull("a", false, &[("2", 10), ("3", 9)])), both("2 3", "1"));
        assert_eq!(values(&pull("b", false, &[("2", 10)])), both("2", ""), "another has its own");
        assert_eq!(values(&pull("a", true, &[("2", 10)])), both("2", ""));
    }

    #[test]
    fn bouncers_are_bounded_and_the_one_that_is_silent_longest_begins_anew() {
        let bouncers = Bouncers::default();
        for n in 0..=MOST_BOUNCERS {
            bouncers.pull(&n.to_string(), true, bans(&[("1", 9)]), n as Millis);
        }
        assert_eq!(bouncers.0.lock().len(), MOST_BOUNCERS);
        assert_eq!(values(&bouncers.pull("1", false, bans(&[("1", 9)]), 999)).0, "");
        assert_eq!(values(&bouncers.pull("0", false, bans(&[("1", 9)]), 999)).0, "1");
    }

    #[test]
    fn a_span_is_one_that_go_reads() {
        assert_eq!(go_span(3_599_001), "1h0m0s");
        assert_eq!(go_span(61_000), "0h1m1s");
        assert_eq!(go_span(-5), "0h0m0s");
        assert_eq!(go_span(FOR_GOOD), "87600h0m0s");
    }
}
