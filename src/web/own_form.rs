//! A form that somebody who is signed in has sent, and nobody else.

use axum::extract::{FromRequest, Request};

use super::{fault::Fault, form, session::Session};
use crate::http::{App, error::ApiError, params::Params};

/// A form of the session: it has the session's token.
pub(super) struct OwnForm {
    /// The session of who sent it.
    pub session: Session,
    /// As the form has sent them, `form_token` among them, which is checked already.
    pub fields: Params,
}

impl FromRequest<App> for OwnForm {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &App) -> Result<Self, Fault> {
        let session = request.extensions().get::<Session>().cloned().ok_or(ApiError::Internal)?;
        let fields = form::read(app, request).await?;
        if session.is_own_form(fields.text("form_token").unwrap_or_default()) {
            Ok(Self { session, fields })
        } else {
            Err(Fault::ForeignForm)
        }
    }
}
