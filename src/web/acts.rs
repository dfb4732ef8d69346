//! What people do on the page: by the very functions that the API calls, each with a reason. Each leads back to where
//! it was asked for, and says there what was done.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};

use super::{fault::Fault, form::own_path, own_form::OwnForm, session::Session};
use crate::{
    domain::{scope::Scope, subject::Subject},
    http::{
        App,
        allowlist::AllowOrder,
        bans::{BanOrder, lift_one},
        error::ApiError,
        events::{Feedback, VerdictWord, give_feedback},
        lift::{self, LiftOrder},
        params::{Params, subject},
    },
};

/// Bans a subject: fields `subject`, `seconds` (or `forever`), `reason`.
pub(super) async fn ban(State(app): State<App>, form: OwnForm) -> Result<Response, Fault> {
    let (session, fields) = allowed(form, Scope::BansWrite)?;
    let subject = named(&app, &fields).await?;
    let duration_seconds = match required(&fields, "seconds")? {
        "forever" => None,
        text => Some(text.parse().map_err(|_| ApiError::field("/seconds", "must be a whole number"))?),
    };
    let order = BanOrder { duration_seconds, reason: reason(&fields)?, force: false };
    order.carry_out(&app, &subject, &session.caller.actor).await?;
    Ok(back(&fields, "banned"))
}

/// Lifts the ban or throttle of a subject: fields `subject`, `reason`.
pub(super) async fn lift(State(app): State<App>, form: OwnForm) -> Result<Response, Fault> {
    let (session, fields) = allowed(form, Scope::BansWrite)?;
    let subject = named(&app, &fields).await?;
    lift_one(&app, &subject, &reason(&fields)?, &session.caller.actor).await?;
    Ok(back(&fields, "lifted"))
}

/// Lifts several: fields `subjects` (each), `reason`.
pub(super) async fn lift_many(State(app): State<App>, form: OwnForm) -> Result<Response, Fault> {
    let (session, fields) = allowed(form, Scope::BansWrite)?;
    let subjects: Vec<String> = fields.all("subjects").into_iter().map(str::to_owned).collect();
    if subjects.is_empty() {
        return Err(ApiError::field("/subjects", "must be chosen: tick those to lift").into());
    }
    let order = LiftOrder { subjects: Some(subjects), reason_contains: None, reason: reason(&fields)? };
    let done = lift::lift(&app, &session.caller.actor, order).await?;
    let is_all = done.not_held.is_empty() && done.failed.is_empty();
    Ok(back(&fields, if is_all { "lifted-many" } else { "lifted-some" }))
}

/// Says what an event was: fields `event`, `verdict` (`benign` or `attack`), `reason`.
pub(super) async fn feedback(State(app): State<App>, form: OwnForm) -> Result<Response, Fault> {
    let (session, fields) = allowed(form, Scope::BansWrite)?;
    let (verdict, code) = match required(&fields, "verdict")? {
        "benign" => (VerdictWord::Benign, "benign"),
        "attack" => (VerdictWord::Attack, "attack"),
        _ => return Err(ApiError::field("/verdict", "must be benign or attack").into()),
    };
    let word = Feedback { verdict, note: Some(reason(&fields)?) };
    give_feedback(&app, required(&fields, "event")?, word, &session.caller.actor).await?;
    Ok(back(&fields, code))
}

/// Puts an entry on the allowlist: fields `entry`, `reason`.
pub(super) async fn allow(State(app): State<App>, form: OwnForm) -> Result<Response, Fault> {
    let (session, fields) = allowed(form, Scope::Admin)?;
    let order = AllowOrder { reason: reason(&fields)?, expires: None };
    order.carry_out(&app, required(&fields, "entry")?, &session.caller.actor).await?;
    Ok(back(&fields, "allowed"))
}

/// A form of the session, and what it has sent.
///
/// # Errors
/// The token may not do this.
pub(super) fn allowed(form: OwnForm, needed: Scope) -> Result<(Session, Params), ApiError> {
    let OwnForm { session, fields } = form;
    if session.caller.may(needed) { Ok((session, fields)) } else { Err(ApiError::Forbidden(needed)) }
}

async fn named(app: &App, fields: &Params) -> Result<Subject, ApiError> {
    subject(app, required(fields, "subject")?.trim(), "/subject").await
}

/// A field that must be filled in.
///
/// # Errors
/// It is not.
pub(super) fn required<'a>(fields: &'a Params, name: &str) -> Result<&'a str, ApiError> {
    fields.text(name).ok_or_else(|| ApiError::field(&format!("/{name}"), "is required"))
}

/// Why it is done: whoever reads the log has to know.
fn reason(fields: &Params) -> Result<String, ApiError> {
    let reason = required(fields, "reason")?.trim();
    let fits = (1..=1000).contains(&reason.len());
    fits.then(|| reason.to_owned())
        .ok_or_else(|| ApiError::field("/reason", "must not be blank and have at most 1000 bytes"))
}

/// Back to where the form was, with what was done.
fn back(fields: &Params, done: &str) -> Response {
    let path = own_path(fields.text("back"));
    let sign = if path.contains('?') { '&' } else { '?' };
    Redirect::to(&format!("{path}{sign}done={done}")).into_response()
}
