//! `/v1/limits`: how every limit of one key or project stands.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    params::{Params, SubjectPath},
};
use crate::{
    answer::Amount,
    domain::{
        Millis,
        limit::{LimitMode, Span},
        seconds_until,
        subject::SubjectKind,
        window::Unit,
    },
    engine::LimitView,
};

/// How every limit stands that requests of a subject are held to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitsPage {
    /// Whom it is about.
    #[schema(example = "key:k1:9f2c41d07be5a8c3")]
    pub subject: String,
    /// Of a key its windows, its own limits, and its plan's; then its project's and those on everything.
    pub limits: Vec<LimitRow>,
}

/// How one limit stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitRow {
    /// On whom: `key`, `project` or `everything`; a part of the key's traffic that is stopped by its name (`client curl
    /// from AS64961 in BR`); null: the policy's limit of every key.
    pub scope: Option<String>,
    /// For which models, a name or pattern; null: for all.
    pub model: Option<String>,
    /// `1min`, `5min`, `1hour`, `24hour`, or as it was set.
    #[schema(value_type = String)]
    pub window: Span,
    /// What is counted: requests, tokens or US dollars.
    pub unit: Unit,
    /// The limit in force, throttle and priority included.
    pub limit: Amount,
    /// What the window holds.
    pub used: Amount,
    /// The part of `used` that open reservations hold; null where there are more than 1,000 of them in all.
    pub held: Option<Amount>,
    /// What of the limit is left; 0 when it is used up or exceeded.
    pub remaining: Amount,
    /// Seconds until the oldest usage leaves the window.
    pub reset_seconds: u64,
    /// `enforce` refuses what does not fit, `shadow` refuses nothing.
    pub mode: LimitMode,
    /// Seconds for which it refuses everything still, because it was exceeded; absent where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_seconds: Option<u64>,
}

impl LimitRow {
    fn of(view: LimitView, now: Millis) -> Self {
        let LimitView { status, held, blocked_until } = view;
        let amount = |amount| Amount::of(status.unit, amount);
        Self {
            scope: status.scope.as_deref().map(str::to_owned),
            model: status.model.as_deref().map(str::to_owned),
            window: status.window,
            unit: status.unit,
            limit: amount(status.limit),
            used: amount(status.used),
            held: held.map(amount),
            remaining: amount(status.limit.saturating_sub(status.used)),
            reset_seconds: status.reset_seconds,
            mode: status.mode,
            blocked_seconds: blocked_until.map(|until| seconds_until(until, now)),
        }
    }
}

/// Shows how every limit stands that requests of a key or a project are held to, of any model.
#[utoipa::path(
    get, path = "/v1/limits/{subject}", tag = "registry", operation_id = "show_limits",
    params(("subject" = String, Path, description = "`key:<key_id>` or `project:<id>`, percent-encoded.")),
    responses(
        (status = 200, body = LimitsPage, description = "The limits, also of a subject that is not known yet."),
        (
            status = 422, body = Problem, content_type = "application/problem+json",
            description = "It is no key or project."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn show(
    State(app): State<App>,
    SubjectPath(subject): SubjectPath,
    params: Params,
) -> Result<Json<LimitsPage>, ApiError> {
    params.only(&[])?;
    if !matches!(subject.kind(), SubjectKind::Key | SubjectKind::Project) {
        return Err(ApiError::field("/subject", "must be key:<key_id> or project:<id>"));
    }
    let now = app.engine.now();
    let views = app.engine.limits().of(&subject, now).await?;
    let limits = views.into_iter().map(|view| LimitRow::of(view, now)).collect();
    Ok(Json(LimitsPage { subject: subject.to_string(), limits }))
}
