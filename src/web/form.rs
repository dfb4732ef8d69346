//! What forms send, and where they lead back to. Whether a form is one of the session is in `own_form`.

use axum::extract::Request;

use crate::http::{
    App,
    error::ApiError,
    input::{self, BODY_LIMIT},
    params::Params,
};

/// Reads what a form sent.
///
/// # Errors
/// It is too large, too slow, or no percent-encoded UTF-8.
pub(super) async fn read(app: &App, request: Request) -> Result<Params, ApiError> {
    let bytes = input::read(app, request, BODY_LIMIT).await?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| ApiError::Syntax("the form is not UTF-8".to_owned()))?;
    Params::parse(text)
}

/// A path of this page to go on to: `/ui` where none is named, or one of somebody else's.
pub(super) fn own_path(asked: Option<&str>) -> String {
    let is_own = |path: &&str| {
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        plain && (*path == "/ui" || path.starts_with("/ui/") || path.starts_with("/ui?"))
    };
    asked.filter(is_own).unwrap_or("/ui").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_led_to_paths_of_the_page_alone() {
        for own in ["/ui", "/ui/bans?state=throttled", "/ui?done=banned", "/ui/subjects/ip:203.0.113.0%2F24"]
        {
            assert_eq!(own_path(Some(own)), own);
        }
        for other in
            ["//evil.example", "https://evil.example/ui", "/uix", "/v1/bans", "/ui\\..", "/ui/\r\nx: y", ""]
        {
            assert_eq!(own_path(Some(other)), "/ui", "{other}");
        }
        assert_eq!(own_path(None), "/ui");
    }
}
