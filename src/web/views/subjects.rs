//! Subjects: who is there, and who is meant by what is searched for.

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};

use crate::{
    domain::{key::looks_secret, subject::Subject},
    engine::SubjectQuery,
    http::{
        App,
        bans::subjects_of,
        params::Params,
        subject_list::{SubjectItem, query},
    },
    web::{
        fault::{Fault, render},
        frame::Frame,
        own_form::OwnForm,
        shown::{Moment, in_path, state_words, subject_path},
    },
};

/// Subjects of a page.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "subjects.html")]
struct SubjectsPage {
    frame: Frame,
    text: String,
    is_held_list: bool,
    rows: Vec<Row>,
    more: Option<String>,
}

struct Row {
    subject: String,
    path: String,
    label: Option<String>,
    project: Option<String>,
    state: &'static str,
    class: &'static str,
    reason: Option<String>,
    last_seen: Option<Moment>,
}

/// Lists subjects: parameters `q`, `state`, `sort` and `cursor`. What names a subject leads to it at once.
pub(in crate::web) async fn list(
    State(app): State<App>,
    frame: Frame,
    params: Params,
) -> Result<Response, Fault> {
    show(&app, frame, &params.only(&["q", "state", "sort", "cursor", "done"])?).await
}

/// The same from a form, fields `q` and `sort`: what is looked for stands in no address, as it may be the secret of a
/// key. That leads to the key that it belongs to.
pub(in crate::web) async fn find(
    State(app): State<App>,
    frame: Frame,
    form: OwnForm,
) -> Result<Response, Fault> {
    let fields = form.fields.only(&["q", "sort", "form_token"])?;
    let text = fields.text("q").unwrap_or_default().trim().to_owned();
    if let Some(key) = key_of_secret(&app, &text).await? {
        return Ok(Redirect::to(&subject_path(key.as_str())).into_response());
    }
    show(&app, frame, &fields).await
}

/// The key of a text that is, or may be, the secret of one: it begins as secrets do, or its key was seen.
async fn key_of_secret(app: &App, text: &str) -> Result<Option<Subject>, Fault> {
    if text.contains(char::is_whitespace) || app.engine.policy().registry.key(text).is_some() {
        return Ok(None);
    }
    let Ok(keys) = subjects_of(app, text.to_owned(), app.engine.now()) else { return Ok(None) };
    for key in &keys {
        if app.engine.store().profile(key).await?.is_some() {
            return Ok(Some(key.clone()));
        }
    }
    Ok(keys.into_iter().next().filter(|_| looks_secret(text).is_some()))
}

async fn show(app: &App, frame: Frame, params: &Params) -> Result<Response, Fault> {
    let text = params.text("q").unwrap_or_default().trim().to_owned();
    if let Some(subject) = named(&text) {
        return Ok(Redirect::to(&subject_path(subject.as_str())).into_response());
    }
    let query = SubjectQuery { limit: PAGE, ..query(params)? };
    let now = app.engine.now();
    let page = app.engine.subjects().list(&query, now).await?;
    let rows = page.rows.iter().map(|found| {
        let item = SubjectItem::new(found, query.held, now);
        let (state, class) = state_words(item.state);
        Row {
            path: subject_path(&item.subject),
            subject: item.subject,
            label: item.label,
            project: item.project,
            state,
            class,
            reason: item.reason,
            last_seen: item.last_seen.map(|_| Moment::at(found.time)),
        }
    });
    let rows = rows.collect();
    let more = page.next.map(|next| {
        let cursor = crate::http::lists::Cursor { time: next.last_seen, name: next.subject.to_string() };
        let sort = if query.held { "&sort=since" } else { "" };
        format!("/ui/subjects?q={}{sort}&cursor={}", in_path(&text), cursor.encode())
    });
    Ok(render(200, &SubjectsPage { frame, is_held_list: query.held, text, rows, more }))
}

/// A subject that a text names: written out, or as an address.
fn named(text: &str) -> Option<Subject> {
    let is_written_out = ["key:", "ip:", "project:"].iter().any(|kind| text.starts_with(kind));
    if is_written_out {
        return Subject::parse(text).ok();
    }
    let is_address = text.contains(['.', ':']) && !text.contains(' ');
    is_address.then(|| Subject::parse(&format!("ip:{text}")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_subject_leads_to_it_and_other_text_is_searched_for() {
        for (text, subject) in [
            ("key:k1:9f2c41d07be5a8c3", Some("key:k1:9f2c41d07be5a8c3")),
            ("project:analytics", Some("project:analytics")),
            ("203.0.113.7", Some("ip:203.0.113.7")),
            ("2001:db8::/32", Some("ip:2001:db8::/32")),
            ("k1:9f2c", None),
            ("nightly report", None),
            ("", None),
        ] {
            assert_eq!(named(text).as_ref().map(Subject::as_str), subject, "{text}");
        }
    }
}
