//! `/v1/alerts`: where each alert rule stands.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    lists::{Cursor, List},
    params::Params,
};
use crate::{
    domain::{
        alert::{AlertState, Watched},
        event::{format_millis, wire_name},
        subject::Subject,
    },
    engine::AlertStatus,
};

/// Where a rule stands, about one project, key or model, or about everything.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertItem {
    /// What the rule is called: its name, or else what it says.
    pub rule: String,
    /// pending: it has fired at nobody within a day. firing: it is true, or was within two minutes. cleared: it no
    /// longer is.
    #[schema(value_type = String)]
    pub state: AlertState,
    /// Since when it fires or is cleared; null while it is pending.
    pub since: Option<String>,
    /// The project or key that it is about; null of a model, of everything, and while it is pending.
    pub subject: Option<String>,
    /// The model that it is about; null of anything else.
    pub model: Option<String>,
    /// The last sum at which it was true, as a decimal in the metric's unit; of a rule on everything that is pending,
    /// the last sum. Null where there is none to name.
    pub observed: Option<String>,
    /// What that is held against; null while a rule with a baseline is pending.
    pub threshold: Option<String>,
    /// The sum that is watched.
    pub metric: String,
    /// The window, such as 5min; null of a rule over calendar spans.
    pub window: Option<String>,
    /// How it is held against the threshold: gt, lt or eq.
    pub operator: String,
    /// Whose sums are watched: everything, project, key or model.
    pub scope: String,
    /// How bad it is.
    pub severity: String,
}

impl From<AlertStatus> for AlertItem {
    fn from(status: AlertStatus) -> Self {
        let AlertStatus { rule, state, since, name, observed, threshold } = status;
        let named = |scope| name.as_deref().filter(|_| rule.scope == scope);
        let subject = named(Watched::Project).map(Subject::project).or(named(Watched::Key).map(Subject::key));
        Self {
            rule: rule.title(),
            state,
            since: since.map(format_millis),
            subject: subject.map(|subject| subject.to_string()),
            model: named(Watched::Model).map(str::to_owned),
            observed,
            threshold,
            metric: wire_name(&rule.metric),
            window: rule.window.map(String::from),
            operator: wire_name(&rule.operator),
            scope: wire_name(&rule.scope),
            severity: rule.severity.name().to_owned(),
        }
    }
}

/// Shows where each alert rule stands, as the instance that answers saw it at its last pass: what changed last first,
/// pending ones at the end.
#[utoipa::path(
    get, path = "/v1/alerts", tag = "usage", operation_id = "list_alerts",
    params(
        ("state" = Option<String>, Query, description = "Only pending, firing or cleared ones."),
        ("rule" = Option<String>, Query, description = "Only of the rule that is called so."),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before."),
        ("limit" = Option<usize>, Query, description = "1 to 1000 items; 100 by default."),
    ),
    responses(
        (status = 200, body = List<AlertItem>, description = "A page of them."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "A parameter is wrong."
        ),
    ),
)]
pub(super) async fn list(State(app): State<App>, params: Params) -> Result<Json<List<AlertItem>>, ApiError> {
    let params = params.only(&["state", "rule", "cursor", "limit"])?;
    let state = params.get("state", "pending, firing or cleared", |text| {
        serde_json::from_value::<AlertState>(text.into()).ok()
    })?;
    let (rule, limit) = (params.text("rule"), params.limit()?);
    let cursor = params.text("cursor").map(Cursor::decode).transpose()?;
    let mut found: Vec<(Cursor, AlertStatus)> = app.engine.alerts().into_iter().map(placed).collect();
    found.retain(|(place, status)| {
        state.is_none_or(|state| status.state == state)
            && rule.is_none_or(|rule| status.rule.title() == rule)
            && cursor.as_ref().is_none_or(|cursor| cursor.precedes(place.time, &place.name))
    });
    found.sort_by(|(a, _), (b, _)| b.time.cmp(&a.time).then_with(|| a.name.cmp(&b.name)));
    let is_more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| is_more).map(|(place, _)| place.encode());
    let items = found.into_iter().map(|(_, status)| status.into()).collect();
    Ok(Json(List { items, next_cursor }))
}

/// Where an alert is in the list: by when it came to be so, then by its rule and whom it is about.
fn placed(status: AlertStatus) -> (Cursor, AlertStatus) {
    let name = format!("{}\n{}", status.rule.title(), status.name.as_deref().unwrap_or_default());
    (Cursor { time: status.since.unwrap_or(0), name }, status)
}
