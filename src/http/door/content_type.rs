//! What a form can send is not taken.
//!
//! A page may send three content types, or none, to anybody without asking (the Fetch standard calls them safelisted).
//! For every other type the browser asks first, by a CORS preflight, which no route answers with leave.

use axum::http::{HeaderMap, HeaderValue, Method, header};

use crate::http::error::ApiError;

/// The content types of HTML forms (HTML standard, `enctype`).
const OF_FORMS: [&str; 3] = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];

/// The content type of forms of the page, where no file is sent.
const OF_PAGE: &str = "application/x-www-form-urlencoded";

/// Refuses a POST, PUT or PATCH whose content type a form could have, but for the forms of the page.
/// Whether the route takes the type is its own care.
///
/// # Errors
/// [`ApiError::FormContentType`].
pub(super) fn check(method: &Method, headers: &HeaderMap, is_page: bool) -> Result<(), ApiError> {
    let acts = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    let is_fit = is_beyond_forms(headers) || is_page && is_form_of_page(headers);
    if acts && !is_fit { Err(ApiError::FormContentType) } else { Ok(()) }
}

fn is_form_of_page(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return false };
    essence(only).is_some_and(|essence| essence.eq_ignore_ascii_case(OF_PAGE))
}

fn is_beyond_forms(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return false };
    essence(only).is_some_and(|essence| !OF_FORMS.iter().any(|form| essence.eq_ignore_ascii_case(form)))
}

/// `type/subtype`, without parameters; `None` where that is not what the header says.
fn essence(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?.split(';').next()?.trim();
    let (kind, subtype) = text.split_once('/')?;
    // The characters of a token (RFC 9110, section 5.6.2). A comma is none: two types in one header are no type.
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let token = |part: &str| !part.is_empty() && part.bytes().all(sign);
    (token(kind) && token(subtype)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(method: Method, types: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for text in types {
            headers.append(header::CONTENT_TYPE, text.parse().unwrap());
        }
        check(&method, &headers, false).is_ok()
    }

    #[test]
    fn an_act_needs_a_type_that_no_form_has() {
        for method in [Method::POST, Method::PUT, Method::PATCH] {
            for text in [
                "application/json",
                "Application/JSON ; charset=UTF-8",
                "application/x-ndjson",
                "application/merge-patch+json",
            ] {
                assert!(passes(method.clone(), &[text]), "{method} {text}");
            }
            for text in [
                "text/plain",
                "TEXT/Plain;charset=UTF-8",
                " text/plain ; application/json",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "text/plain, application/json",
                "application/json, text/plain",
                "application",
                "application/",
                "/json",
                "",
            ] {
                assert!(!passes(method.clone(), &[text]), "{method} {text}");
            }
            assert!(!passes(method.clone(), &[]), "{method} without a type");
            assert!(!passes(method.clone(), &["application/json", "application/json"]), "{method} with two");
        }
    }

    #[test]
    fn reads_and_deletions_need_none_since_no_form_sends_the_one_and_no_page_the_other() {
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            assert!(passes(method, &[]));
        }
    }
}
