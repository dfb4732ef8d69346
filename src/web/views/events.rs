//! Events: what happened? A list that is narrowed down, and one event whole.

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    domain::{
        DAY, HOUR, Millis,
        event::{Event, EventType, EvidenceAmount, FindingEvidence},
        finding::Severity,
        place::PlaceSummary,
        wording::{number, whole},
    },
    http::{
        App,
        error::ApiError,
        events::EventFilter,
        params::{Params, TextPath},
    },
    store::EventQuery,
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::{EventRow, in_path, in_words},
    },
};

/// Events of a page.
const PAGE: usize = 50;
/// Spans that one can look back over, by their name in the address.
const SPANS: [(&str, &str, Millis); 4] = [
    ("hour", "the last hour", HOUR),
    ("day", "the last day", DAY),
    ("week", "the last week", 7 * DAY),
    ("month", "the last 30 days", 30 * DAY),
];

/// A choice of a list.
pub(in crate::web) struct Choice {
    /// What the form sends.
    pub value: &'static str,
    /// What one reads in the list.
    pub text: String,
    /// Whether it is chosen.
    pub is_chosen: bool,
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    frame: Frame,
    kinds: Vec<Choice>,
    severities: Vec<Choice>,
    spans: Vec<Choice>,
    subject: String,
    is_narrowed: bool,
    events: Vec<EventRow>,
    older: Option<String>,
}

/// Lists events: parameters `type`, `severity`, `subject`, `span` and `cursor`.
pub(in crate::web) async fn list(
    State(app): State<App>,
    frame: Frame,
    params: Params,
) -> Result<Response, Fault> {
    let params = params.only(&["type", "severity", "subject", "span", "cursor", "done"])?;
    let filter = EventFilter::from_params(&app, &params).await?;
    let span = params
        .get("span", "hour, day, week or month", |text| SPANS.iter().find(|(name, ..)| *name == text))?;
    let query = EventQuery {
        since: span.map(|(_, _, length)| app.engine.now() - length),
        subject: filter.subject.clone(),
        kind: filter.kind,
        severity: filter.severity,
        cursor: params.text("cursor").map(str::to_owned),
        limit: PAGE,
        ..EventQuery::default()
    };
    let page = app.engine.store().events(&query).await?;
    let subject = filter.subject.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(render(
        200,
        &EventsPage {
            kinds: kinds(filter.kind),
            severities: severities(filter.severity),
            spans: spans(span.map(|(name, ..)| *name)),
            is_narrowed: ["type", "severity", "subject", "span"].iter().any(|p| params.text(p).is_some()),
            older: page.next.map(|cursor| older(&params, &cursor)),
            events: page.items.iter().map(EventRow::from).collect(),
            subject,
            frame,
        },
    ))
}

fn kinds(chosen: Option<EventType>) -> Vec<Choice> {
    let mut names: Vec<&'static str> = EventType::names().collect();
    names.sort_unstable();
    let is_chosen = |name: &str| chosen.is_some_and(|kind| kind.name() == name);
    let choice = |value| Choice { value, text: in_words(value), is_chosen: is_chosen(value) };
    names.into_iter().map(choice).collect()
}

fn severities(chosen: Option<Severity>) -> Vec<Choice> {
    let text = |severity: Severity| match severity {
        Severity::Critical => "critical".to_owned(),
        other => format!("{} and worse", other.name()),
    };
    let choice = |severity: &Severity| Choice {
        value: severity.name(),
        text: text(*severity),
        is_chosen: chosen == Some(*severity),
    };
    Severity::ALL.iter().skip(1).map(choice).collect()
}

fn spans(chosen: Option<&str>) -> Vec<Choice> {
    let choice = |(value, text, _): &(&'static str, &str, Millis)| Choice {
        value,
        text: (*text).to_owned(),
        is_chosen: chosen == Some(*value),
    };
    SPANS.iter().map(choice).collect()
}

/// The address of the next page of the same list.
fn older(params: &Params, cursor: &str) -> String {
    let kept = ["type", "severity", "subject", "span"].into_iter();
    let kept = kept.filter_map(|name| Some(format!("{name}={}&", in_path(params.text(name)?))));
    format!("/ui/events?{}cursor={}", kept.collect::<String>(), in_path(cursor))
}

/// A number of an event with what it is.
struct Fact {
    name: &'static str,
    value: String,
}

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    frame: Frame,
    event: EventRow,
    facts: Vec<Fact>,
    json: String,
    pair: Option<String>,
}

/// Shows one event whole.
pub(in crate::web) async fn show(
    State(app): State<App>,
    frame: Frame,
    TextPath(id): TextPath,
) -> Result<Response, Fault> {
    let event = app.engine.store().event(&id).await?;
    let event =
        event.ok_or_else(|| ApiError::NotFound(format!("there is no event {id}; it may be too old")))?;
    let json = serde_json::to_string_pretty(&event).unwrap_or_default();
    let page =
        EventPage { frame, facts: facts(&event), json, pair: pair(&event), event: EventRow::from(&event) };
    Ok(render(200, &page))
}

fn facts(event: &Event) -> Vec<Fact> {
    let FindingEvidence { observed, baseline, threshold, samples, .. } = event.evidence.finding();
    let amount = |amount: Option<EvidenceAmount>| amount.map(|amount| shown_amount(&amount));
    let text = |text: &Option<String>| text.clone();
    let all = [
        ("From", event.place.as_ref().map(PlaceSummary::full_name)),
        ("Address", text(&event.source_ip)),
        ("Key", text(&event.key_id)),
        ("Detector", text(&event.detector)),
        ("Observed", amount(observed)),
        ("Usual", amount(baseline)),
        ("Threshold", amount(threshold)),
        ("Samples", samples.map(whole)),
        ("Done", event.action.as_deref().map(in_words)),
        ("By", event.evidence.by().map(str::to_owned)),
        ("Request", text(&event.request_id)),
        ("Policy", text(&event.policy_version)),
    ];
    all.into_iter().filter_map(|(name, value)| Some(Fact { name, value: value? })).collect()
}

/// The entry of the allowlist that would leave this way between two places alone: `pair:SG~RO`.
pub(in crate::web) fn pair(event: &Event) -> Option<String> {
    let before = event.evidence.features().previous?;
    let (from, to) = (before.country?, event.place.as_ref()?.country.as_deref()?.to_owned());
    if from != to {
        return Some(format!("pair:{from}~{to}"));
    }
    let (from, to) = (before.asn?, event.place.as_ref()?.asn?);
    (from != to).then(|| format!("pair:AS{from}~AS{to}"))
}

/// An amount with as many digits as matter; what is text stays as it is.
pub(in crate::web) fn shown_amount(amount: &EvidenceAmount) -> String {
    amount.number().map_or_else(|| amount.text(), number)
}
