//! Errors as pages, and templates as answers.

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::{http::error::ApiError, store::StoreError};

/// Why a page could not be shown, or an act not be done.
#[derive(Debug)]
pub(super) enum Fault {
    /// What the API would have answered.
    Api(ApiError),
    /// A form without the token of the session.
    ForeignForm,
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Api(error.into())
    }
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage {
    title: &'static str,
    detail: String,
    status: u16,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let page = match self {
            Self::Api(error) => {
                if let ApiError::Store(error) = &error {
                    tracing::warn!(%error, "a page could not be shown");
                }
                let problem = error.into_problem();
                let fields: Vec<_> = problem.errors.iter().map(named).collect();
                let detail = if fields.is_empty() { problem.detail } else { fields.join("; ") };
                FaultPage { title: problem.title, detail, status: problem.status }
            }
            Self::ForeignForm => FaultPage {
                title: "Not a form of this session",
                detail: "The form has no token of your session: it is of before you signed in, or was sent by another \
                         page. Nothing was done. Go back, load the page again, and send it once more."
                    .to_owned(),
                status: 403,
            },
        };
        render(page.status, &page)
    }
}

/// `/reason` is a field named reason to whoever fills in a form.
fn named(error: &crate::intake::FieldError) -> String {
    format!("{} {}", error.pointer.trim_start_matches('/').replace('_', " "), error.detail)
}

/// A page with a status. `no-store` and the rest of the head are added on the way out.
pub(super) fn render(status: u16, page: &impl Template) -> Response {
    let (status, text) = match page.render() {
        Ok(text) => (status, text),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            (500, "the page could not be made; it is in the service's log".to_owned())
        }
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status.try_into().unwrap_or_default();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}
