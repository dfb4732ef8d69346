//! Answers to clients, with the headers that Keyward adds.

use std::sync::atomic::Ordering;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};

use super::{
    super::{dialect::failure::Failure, settings::Dialect},
    attempt::Whole,
    cache::Kept,
    call::Call,
};
use crate::{
    domain::{decision::Decision, money::Usd},
    http::ratelimit,
};

/// The header with what a request cost, in US dollars.
pub(super) const COST: HeaderName = HeaderName::from_static("x-cost-usd");

/// An answer that says why there is none.
pub(in crate::gateway) fn failed(dialect: Dialect, failure: &Failure, request_id: &str) -> Response {
    let mut response = Response::new(Body::from(failure.body(dialect, request_id).to_string()));
    set_status(&mut response, failure.kind.status());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    put(headers, "x-keyward-request-id", request_id);
    if let Some(reason) = failure.reason {
        put(headers, "x-keyward-reason", reason);
    }
    if let Some(seconds) = failure.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if !failure.may_retry {
        put(headers, "x-should-retry", "false");
    }
    response
}

fn set_status(response: &mut Response, status: u16) {
    if let Ok(status) = status.try_into() {
        *response.status_mut() = status;
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

impl Call {
    /// What the request cost with all its attempts, as a header has it: a decimal of US dollars, to the nano-dollar.
    pub(super) fn cost(&self, decision: &Decision) -> String {
        Usd(decision.cost.nanos.saturating_add(self.billed.load(Ordering::Acquire))).to_string()
    }

    /// The answer with a provider's whole answer in it.
    pub(super) fn whole(&self, whole: Whole, decision: Option<&Decision>) -> Response {
        let mut response = Response::new(Body::from(whole.body));
        set_status(&mut response, whole.status);
        *response.headers_mut() = whole.headers;
        self.add_headers(response.headers_mut(), decision);
        if let Some(decision) = decision {
            put(response.headers_mut(), "x-cost-usd", &self.cost(decision));
            if decision.estimated || self.billed.load(Ordering::Acquire) > 0 {
                put(response.headers_mut(), "x-keyward-usage", "estimated");
            }
        }
        response
    }

    /// The answer that is kept of the same request.
    pub(super) fn again(&self, kept: Kept, decision: Option<&Decision>) -> Response {
        let content_type = kept.content_type.into_iter().map(|value| (header::CONTENT_TYPE, value));
        let whole =
            Whole { status: 200, headers: content_type.collect(), body: kept.body, wait: None, usage: None };
        let mut response = self.whole(whole, decision);
        put(response.headers_mut(), "x-keyward-cache", "hit");
        response
    }

    /// The answer that says why there is none, with the project and how limits stand.
    pub(super) fn refused(&self, failure: &Failure, decision: Option<&Decision>) -> Response {
        let mut response = failed(self.surface.dialect, failure, &self.request_id);
        self.add_headers(response.headers_mut(), decision);
        response
    }

    /// Adds what Keyward says of a request.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap, decision: Option<&Decision>) {
        put(headers, "x-keyward-request-id", &self.request_id);
        if let Some(project) = &self.project {
            put(headers, "x-project-id", project.id());
        }
        if let Some(decision) = decision {
            ratelimit::add(headers, decision);
            if let Some(reserved) = &decision.reserved {
                put(headers, "x-keyward-reservation-id", &reserved.id);
            }
        }
    }
}
