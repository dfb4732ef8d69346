//! The files of the page: style sheet, script and icon, which are in the binary.

use std::sync::OnceLock;

use axum::{
    extract::Path,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::fault::Fault;
use crate::{domain::stable_hash, http::error::ApiError};

const FILES: &[(&str, &str, &str)] = &[
    ("page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("time.js", "text/javascript; charset=utf-8", include_str!("assets/time.js")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("assets/page.js")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("assets/live.js")),
    ("keys.js", "text/javascript; charset=utf-8", include_str!("assets/keys.js")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// Changes with the files, and is a part of their addresses.
pub(super) fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let all: String = FILES.iter().map(|(_, _, text)| *text).collect();
        format!("{:012x}", stable_hash(all.as_bytes()) & 0xffff_ffff_ffff)
    })
}

/// A file by its name. Under the version that it has a browser keeps it for ever; under any other, such as `latest`, it
/// asks each time.
pub(super) async fn serve(Path((asked, name)): Path<(String, String)>) -> Result<Response, Fault> {
    let file = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, text) = file.ok_or(Fault::Api(ApiError::NoRoute))?;
    let kept = if asked == version() { "public, max-age=31536000, immutable" } else { "no-cache" };
    let (kind, kept) = (HeaderValue::from_static(kind), HeaderValue::from_static(kept));
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, kept)], *text).into_response())
}
