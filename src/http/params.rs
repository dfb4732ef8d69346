//! What comes in the path and in the query string.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use percent_encoding::percent_decode_str;

use super::{App, error::ApiError};
use crate::domain::{
    Millis,
    calendar::Zone,
    event::parse_millis,
    key::looks_secret,
    subject::{Subject, SubjectKind},
};

/// How many items a list has when nothing is said.
const DEFAULT_LIMIT: usize = 100;
/// Most items of one page of a list.
const MAX_LIMIT: usize = 1000;

/// The subject that a path names.
pub(crate) struct SubjectPath(pub Subject);

impl FromRequestParts<App> for SubjectPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let TextPath(text) = TextPath::from_request_parts(parts, app).await?;
        subject(app, &text, "/subject").await.map(Self)
    }
}

/// Reads a subject that a caller names. A key id that looks like a secret must be known: an operator who takes the
/// secret for the id would act on nothing, and the secret would be in the log from then on.
///
/// # Errors
/// It is no subject, it may be a secret, or the store does not say whether it is known.
pub(crate) async fn subject(app: &App, text: &str, pointer: &str) -> Result<Subject, ApiError> {
    let subject = Subject::parse(text).map_err(|error| ApiError::field(pointer, error.to_string()))?;
    if subject.kind() != SubjectKind::Key {
        return Ok(subject);
    }
    match looks_secret(subject.id()) {
        Some(likeness) if !app.engine.subjects().is_known(&subject).await? => {
            let detail = format!(
                "after key: {likeness}. POST /v1/bans/lookup takes the secret as api_key and answers with the \
                 subject. If it is a public id, register it first: PUT /v1/keys/{{key_id}}"
            );
            Err(ApiError::field(pointer, detail))
        }
        _ => Ok(subject),
    }
}

/// The one text that a path holds, decoded.
pub(crate) struct TextPath(pub String);

impl FromRequestParts<App> for TextPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::Syntax("the path is not percent-encoded UTF-8".to_owned()))?;
        Ok(Self(text))
    }
}

/// The parameters of a query string. One without a value counts as not given.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl FromRequestParts<App> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

impl Params {
    /// Parameters as a query string or a form has them.
    ///
    /// # Errors
    /// When they are not percent-encoded UTF-8.
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Refuses parameters other than `names`, and any that is given twice.
    pub(crate) fn only(self, names: &[&str]) -> Result<Self, ApiError> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            let pointer = format!("/{name}");
            if !names.contains(&name.as_str()) {
                let detail = format!("is not a parameter here; there are {}", names.join(", "));
                return Err(ApiError::field(&pointer, detail));
            }
            if self.0[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(ApiError::field(&pointer, "is given twice"));
            }
        }
        Ok(self)
    }

    /// The text of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Every text of a parameter that may be given more than once.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(n, value)| n == name && !value.is_empty());
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// A parameter as `read` reads it; `must` says what it must be when `read` cannot.
    pub(crate) fn get<T>(
        &self,
        name: &str,
        must: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| ApiError::field(&format!("/{name}"), format!("must be {must}")))
    }

    /// The parameter `subject`, as [`subject`] reads it.
    pub(super) async fn subject(&self, app: &App) -> Result<Option<Subject>, ApiError> {
        let Some(text) = self.text("subject") else { return Ok(None) };
        subject(app, text, "/subject").await.map(Some)
    }

    /// A time. A plus sign that was not encoded is read as what was meant: an RFC 3339 time has no space.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Millis>, ApiError> {
        let must = "an RFC 3339 time, for example 2026-03-02T09:13:22.123Z";
        self.get(name, must, |text| parse_millis(&text.replace(' ', "+")).ok())
    }

    /// A time, or a date, which is the first moment of that day in a time zone.
    pub(super) fn time_or_date(&self, name: &str, zone: Zone) -> Result<Option<Millis>, ApiError> {
        let must = "a date such as 2026-03-02, or an RFC 3339 time, for example 2026-03-02T09:13:22.123Z";
        self.get(name, must, |text| {
            zone.begin_of_day(text).or_else(|| parse_millis(&text.replace(' ', "+")).ok())
        })
    }

    /// The parameter `limit`: 1 to 1000, and 100 where it is absent.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        let read = |text: &str| text.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
        Ok(self.get("limit", "a whole number from 1 to 1000", read)?.unwrap_or(DEFAULT_LIMIT))
    }
}

fn decode(text: &str) -> Result<String, ApiError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| ApiError::Syntax("the query is not percent-encoded UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(result: Result<impl Sized, ApiError>) -> (u16, String) {
        let problem = result.err().unwrap().into_problem();
        (problem.status, problem.errors.first().map(|e| e.pointer.clone()).unwrap_or_default())
    }

    #[test]
    fn parameters_are_decoded_and_empty_ones_are_not_given() {
        let params =
            Params::parse("subject=ip%3A203.0.113.0%2F24&state=&since=2026-03-02T10:13:22+01:00").unwrap();
        assert_eq!(params.text("subject"), Some("ip:203.0.113.0/24"));
        assert_eq!(params.text("state"), None);
        assert_eq!(params.time("since").unwrap(), Some(1_772_442_802_000));
        assert_eq!(params.limit().unwrap(), 100);
    }

    #[test]
    fn wrong_parameters_are_named() {
        let parse = |query: &str| Params::parse(query).unwrap();
        assert_eq!(problem(parse("limit=0").limit()), (422, "/limit".into()));
        assert_eq!(problem(parse("limit=1001").limit()), (422, "/limit".into()));
        assert_eq!(problem(parse("since=now").time("since")), (422, "/since".into()));
        assert_eq!(problem(parse("subjct=x").only(&["subject"])), (422, "/subjct".into()));
        assert_eq!(problem(parse("limit=1&limit=2").only(&["limit"])), (422, "/limit".into()));
        assert_eq!(problem(Params::parse("x=%ff")).0, 400);
    }
}
