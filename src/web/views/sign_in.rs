//! The form that asks for a token, and the page that opens itself again.

use askama::Template;

/// Asks for a token.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub(in crate::web) struct SignInPage<'a> {
    /// Where one was going.
    pub next: &'a str,
    /// Why the token that was sent is none.
    pub wrong: Option<&'a str>,
}

/// Opens a path again, so that the browser sends the cookie that it keeps from links of others.
#[derive(Template)]
#[template(path = "come_again.html")]
pub(in crate::web) struct ComeAgainPage<'a> {
    /// The path, which was asked for already.
    pub path: &'a str,
}
