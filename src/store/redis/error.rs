//! What an error of the client means to the caller.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

/// Codes with which a server says that it cannot write, whoever asks.
const REFUSALS: &[&str] = &["OOM", "MISCONF", "NOREPLICAS", "NOPERM", "READONLY", "NOAUTH", "WRONGPASS"];

/// Codes with which a server says that it cannot answer just now.
const LATER: &[&str] = &["LOADING", "BUSY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK"];

/// Translates; `secret` never shows in the message.
pub(super) fn translate(error: &RedisError, secret: Option<&str>) -> StoreError {
    let code = error.code().unwrap_or("");
    let text = describe(error, secret);
    if REFUSALS.contains(&code) || error.kind() == ErrorKind::AuthenticationFailed {
        StoreError::Refused(text)
    } else if LATER.contains(&code) || code.is_empty() && !is_parse(error) {
        StoreError::Unavailable(text)
    } else {
        StoreError::Incompatible(text)
    }
}

/// Whether the server lost (or never had) the script.
pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether a server answered that it takes no writes: it is no master (any more).
pub(super) fn is_read_only(error: &RedisError) -> bool {
    error.code() == Some("READONLY")
}

/// Whether another node of the cluster is to be asked, or the same one again.
pub(super) fn is_misrouted(error: &RedisError) -> bool {
    error.is_cluster_error() || is_read_only(error)
}

/// Something came back that this version does not understand.
pub(super) fn unreadable(what: &str) -> StoreError {
    StoreError::Incompatible(format!("{what} cannot be read"))
}

fn is_parse(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Parse | ErrorKind::UnexpectedReturnType)
}

fn describe(error: &RedisError, secret: Option<&str>) -> String {
    let text = error.to_string();
    match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "***"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: &str) -> RedisError {
        redis::make_extension_error(code.into(), Some("about hunter2".into()))
    }

    #[test]
    fn refusals_and_outages_are_told_apart() {
        assert!(matches!(translate(&server("OOM"), None), StoreError::Refused(_)));
        assert!(matches!(translate(&server("BUSY"), None), StoreError::Unavailable(_)));
        assert!(matches!(translate(&server("WRONGTYPE"), None), StoreError::Incompatible(_)));
        let io = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert!(matches!(translate(&io, None), StoreError::Unavailable(_)));
    }

    #[test]
    fn passwords_do_not_show() {
        assert!(!translate(&server("OOM"), Some("hunter2")).to_string().contains("hunter2"));
    }
}
