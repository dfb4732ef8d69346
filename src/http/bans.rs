//! `/v1/bans`: who is held, and an operator's ban and lifting.

use std::cmp::Reverse;

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::{
    App, acknowledged, audit,
    error::{ApiError, Problem},
    input::{JsonBody, MaybeJson},
    lists::{Cursor, List},
    params::{Params, SubjectPath},
    text,
};
use crate::{
    domain::{Millis, SECOND, actor::Actor, standing::StandingState, subject::Subject},
    explain::{BanStatus, StoppedPartView},
    intake::{FieldError, WireCheck},
    store::StandingRecord,
};

/// Longest ban that ends, in seconds: ten years.
const MAX_SECONDS: u64 = 315_360_000;

/// A ban that an operator orders.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BanOrder {
    /// Seconds from 1 to 315360000; null: for good.
    #[serde(deserialize_with = "required")]
    #[schema(required = true, minimum = 1, maximum = 315_360_000)]
    pub duration_seconds: Option<u64>,
    /// Why, in at most 1000 bytes.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
    /// Bans a network however wide it is. Without, one wider than an IPv4 /8 or an IPv6 /16 is refused: a slip would
    /// refuse nearly everybody at once.
    #[serde(default)]
    pub force: bool,
}

/// Why an operator lifts a ban, or has a subject forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Because {
    /// Why, in at most 1000 bytes.
    #[schema(max_length = 1000)]
    pub reason: Option<String>,
}

/// A raw key whose standing is asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lookup {
    /// The secret. Hashed at the door; blanks around it are taken off.
    #[schema(min_length = 1)]
    pub api_key: String,
}

/// Null has to be said: leaving it out must not ban for good.
fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)
}

impl BanOrder {
    /// For how long, if all is well with it.
    fn checked(&self, subject: &Subject) -> Result<Option<Millis>, ApiError> {
        let mut errors = Vec::new();
        if subject.is_vast() && !self.force {
            let detail = format!(
                "{subject} is wider than an IPv4 /8 or an IPv6 /16: a large part of the internet would be \
                 refused. Name a \
                 longer prefix or, if that is meant, send force: true (keyward ban --force)"
            );
            errors.push(FieldError::new("/force", detail));
        }
        if self.duration_seconds.is_some_and(|s| !(1..=MAX_SECONDS).contains(&s)) {
            let detail = format!("must be from 1 to {MAX_SECONDS}, or null for a permanent ban");
            errors.push(FieldError::new("/duration_seconds", detail));
        }
        text::check("/reason", &self.reason, 1, &mut errors);
        if !errors.is_empty() {
            return Err(ApiError::Fields(errors));
        }
        Ok(self.duration_seconds.and_then(|s| Millis::try_from(s).ok()).map(|s| s * SECOND))
    }

    /// Bans, and says whether there was no ban before.
    ///
    /// # Errors
    /// The order is wrong, or it could not be written.
    pub(crate) async fn carry_out(
        &self,
        app: &App,
        subject: &Subject,
        by: &Actor,
    ) -> Result<(StandingRecord, bool), ApiError> {
        let length = self.checked(subject)?;
        let done = app.engine.bans().ban(subject, length, &self.reason, by, app.engine.now()).await;
        let done = acknowledged(by, ("ban", subject.as_str()), done)?;
        audit(by, "ban", subject.as_str());
        Ok(done)
    }
}

/// Lists every throttle and ban in force, newest first.
#[utoipa::path(
    get, path = "/v1/bans", tag = "bans", operation_id = "list_bans",
    params(
        ("subject" = Option<String>, Query, description = "Only this subject."),
        ("state" = Option<StandingState>, Query, description = "Only this state."),
        ("cursor" = Option<String>, Query, description = "Where the last page ended."),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 by default."),
    ),
    responses(
        (status = 200, body = List<BanStatus>, description = "A page."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "A parameter is wrong."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn list(State(app): State<App>, params: Params) -> Result<Json<List<BanStatus>>, ApiError> {
    let params = params.only(&["subject", "state", "cursor", "limit"])?;
    let (subject, state, limit) = (params.subject(&app).await?, state(&params)?, params.limit()?);
    let cursor = params.text("cursor").map(Cursor::decode).transpose()?;
    let now = app.engine.now();
    let mut records = app.engine.store().standings_in_force(now).await?;
    records.retain(|r| {
        subject.as_ref().is_none_or(|s| *s == r.subject)
            && state.is_none_or(|s| s == r.standing.state_at(now))
            && cursor.as_ref().is_none_or(|c| c.precedes(r.standing.since, r.subject.as_str()))
    });
    records.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    let more = records.len() > limit;
    records.truncate(limit);
    let end = records.last().filter(|_| more);
    let next_cursor = end.map(|r| Cursor { time: r.standing.since, name: r.subject.to_string() }.encode());
    let items = records.iter().map(|r| status(&app, r, now)).collect();
    Ok(Json(List { items, next_cursor }))
}

fn sort_key(record: &StandingRecord) -> (Reverse<Millis>, &str) {
    (Reverse(record.standing.since), record.subject.as_str())
}

fn state(params: &Params) -> Result<Option<StandingState>, ApiError> {
    let must = "clear, throttled, temporarily_banned or permanently_banned";
    params.get("state", must, |text| serde_json::from_value(text.into()).ok())
}

/// Shows where a subject stands: by its own ban, else by one around it. One that nobody knows is clear.
#[utoipa::path(
    get, path = "/v1/bans/{subject}", tag = "bans", operation_id = "show_ban",
    params((
        "subject" = String, Path,
        description = "`key:<key_id>`, `ip:<address or prefix>` or `project:<id>`, percent-encoded."
    )),
    responses(
        (
            status = 200, body = BanStatus,
            description = "Its standing, or that of the banned network or project around it, which the reason names."
        ),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "It is no subject."),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn show(
    State(app): State<App>,
    SubjectPath(subject): SubjectPath,
) -> Result<Json<BanStatus>, ApiError> {
    let record = app.engine.standings().of(&subject).await?;
    let now = app.engine.now();
    let spared = app.engine.standings().spared_by(&record, now).await?;
    let parts = app.engine.bans().parts(&subject).await?;
    let stopped_parts = StoppedPartView::all(&parts, now);
    Ok(Json(BanStatus { spared, stopped_parts, ..status(&app, &record, now) }))
}

/// Bans a subject, for a time or for good.
#[utoipa::path(
    put, path = "/v1/bans/{subject}", tag = "bans", operation_id = "ban", request_body = BanOrder,
    params(("subject" = String, Path, description = "Whom to ban.")),
    responses(
        (status = 200, body = BanStatus, description = "It was banned before; this ban replaces that one."),
        (status = 201, body = BanStatus, description = "It is banned now."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "The order is wrong."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; nothing is acknowledged."
        ),
    ),
)]
pub(super) async fn ban(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    SubjectPath(subject): SubjectPath,
    JsonBody(order): JsonBody<BanOrder>,
) -> Result<Response, ApiError> {
    let (record, fresh) = order.carry_out(&app, &subject, &actor).await?;
    let code = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    Ok((code, Json(status(&app, &record, app.engine.now()))).into_response())
}

/// Lifts a ban or throttle. The reason may come in the body or as a parameter.
#[utoipa::path(
    delete, path = "/v1/bans/{subject}", tag = "bans", operation_id = "lift_ban", request_body = Option<Because>,
    params(
        ("subject" = String, Path, description = "Whose ban to lift."),
        ("reason" = Option<String>, Query, description = "Why."),
    ),
    responses(
        (
            status = 200, body = BanStatus,
            description = "Its standing now: that of a banned network or project around it, where there is one."
        ),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "It is not held."),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "It has no ban of its own; a network or project around it is banned, which the detail names."
        ),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "The request is wrong."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; nothing is acknowledged."
        ),
    ),
)]
pub(super) async fn lift(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    SubjectPath(subject): SubjectPath,
    params: Params,
    MaybeJson(body): MaybeJson<Because>,
) -> Result<Json<BanStatus>, ApiError> {
    let reason = because(&params.only(&["reason"])?, body, &actor, "lifted")?;
    lift_one(&app, &subject, &reason, &actor).await?;
    // What remains: a network around it or its project may be banned, too.
    Ok(Json(status(&app, &app.engine.standings().of(&subject).await?, app.engine.now())))
}

/// Lifts the subject's own ban or throttle.
///
/// # Errors
/// It has none, or it could not be written.
pub(crate) async fn lift_one(app: &App, subject: &Subject, reason: &str, by: &Actor) -> Result<(), ApiError> {
    let now = app.engine.now();
    let lifted = app.engine.bans().lift(subject, reason, by, now).await;
    if acknowledged(by, ("lift", subject.as_str()), lifted)?.is_some() {
        audit(by, "lift", subject.as_str());
        return Ok(());
    }
    Err(match app.engine.standings().covering_ban(subject, now) {
        Some(around) => ApiError::Conflict(format!(
            "{subject} has no ban of its own: it is banned as part of {around}; lift that one"
        )),
        None => ApiError::NotFound(format!("{subject} is neither banned nor throttled")),
    })
}

/// Shows where a key stands, by the raw key, which so is never in a URL.
#[utoipa::path(
    post, path = "/v1/bans/lookup", tag = "bans", operation_id = "lookup_ban", request_body = Lookup,
    responses(
        (status = 200, body = BanStatus, description = "Its standing."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "The request is wrong."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn lookup(
    State(app): State<App>,
    JsonBody(Lookup { api_key }): JsonBody<Lookup>,
) -> Result<Json<BanStatus>, ApiError> {
    let now = app.engine.now();
    let mut worst: Option<StandingRecord> = None;
    for subject in subjects_of(&app, api_key, now)? {
        let record = app.engine.standings().of(&subject).await?;
        if worst.as_ref().is_none_or(|w| record.standing.state_at(now) > w.standing.state_at(now)) {
            worst = Some(record);
        }
    }
    worst.map(|record| Json(status(&app, &record, now))).ok_or(ApiError::Internal)
}

/// The key under every pepper, the one in use first: bans made under a former one still hold.
pub(crate) fn subjects_of(app: &App, api_key: String, now: Millis) -> Result<Vec<Subject>, ApiError> {
    let question =
        WireCheck { api_key: Some(api_key), source_ip: "127.0.0.1".to_owned(), ..WireCheck::default() };
    let record = app.intake.record(question.into(), now)?;
    Ok(std::iter::once(record.key).chain(record.former_keys).collect())
}

/// The standing of a record, as of `now`.
pub(crate) fn status(app: &App, record: &StandingRecord, now: Millis) -> BanStatus {
    BanStatus::new(record, &app.engine.policy().policy.ladder, now)
}

/// The reason from the body, else from the parameter, else who did it.
pub(super) fn because(
    params: &Params,
    body: Option<Because>,
    by: &Actor,
    done: &str,
) -> Result<String, ApiError> {
    let given = body.and_then(|b| b.reason).or_else(|| params.text("reason").map(str::to_owned));
    let reason = given.filter(|r| !r.trim().is_empty()).unwrap_or_else(|| format!("{done} by {by}"));
    let mut errors = Vec::new();
    text::check("/reason", &reason, 0, &mut errors);
    if errors.is_empty() { Ok(reason) } else { Err(ApiError::Fields(errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::parse;

    fn checked(json: &str) -> Result<Option<Millis>, ApiError> {
        parse::<BanOrder>(json.as_bytes())?.checked(&Subject::key("a"))
    }

    fn pointers(json: &str) -> Vec<String> {
        let problem = checked(json).unwrap_err().into_problem();
        problem.errors.into_iter().map(|e| e.pointer).collect()
    }

    #[test]
    fn an_order_says_how_long_or_that_it_is_for_good() {
        let length = |json: &str| checked(json).unwrap();
        assert_eq!(length(r#"{"duration_seconds":3600,"reason":"x"}"#), Some(3_600_000));
        assert_eq!(length(r#"{"duration_seconds":null,"reason":"x"}"#), None);
    }

    #[test]
    fn a_wrong_order_names_its_fields() {
        assert_eq!(pointers(r#"{"reason":"x"}"#), ["/duration_seconds"]);
        assert_eq!(pointers(r#"{"duration_seconds":0,"reason":" "}"#), ["/duration_seconds", "/reason"]);
        assert_eq!(pointers(r#"{"duration_seconds":315360001,"reason":"x"}"#), ["/duration_seconds"]);
        assert_eq!(pointers(r#"{"duration_seconds":-1,"reason":"x"}"#), ["/duration_seconds"]);
        assert_eq!(pointers(r#"{"duration_seconds":1}"#), ["/reason"]);
        assert_eq!(pointers(r#"{"duration_seconds":1,"reason":"x","for":1}"#), ["/for"]);
        assert_eq!(
            pointers(&format!(r#"{{"duration_seconds":1,"reason":"{}"}}"#, "x".repeat(1001))),
            ["/reason"]
        );
    }
}
