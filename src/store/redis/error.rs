//! What an error of the client means to the caller, and what a reply that cannot be read means.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::{StoreError, StoreFault};

/// Codes with which a server says that it cannot write, whoever asks.
const REFUSALS: &[&str] = &["OOM", "MISCONF", "NOREPLICAS", "NOPERM", "READONLY", "NOAUTH", "WRONGPASS"];

/// Codes with which a server says that it cannot answer just now.
const LATER: &[&str] = &["LOADING", "BUSY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK"];

/// What the client's error means. The secret is in none of its texts, nor in its sources.
pub(super) fn translate(error: &RedisError, secret: Option<&str>) -> StoreError {
    let code = error.code().unwrap_or("");
    let fault = fault(error, secret);
    if REFUSALS.contains(&code)
        || is_refused_in_script(error)
        || error.kind() == ErrorKind::AuthenticationFailed
    {
        StoreError::Refused(fault)
    } else if LATER.contains(&code) || code.is_empty() && !is_parse(error) {
        StoreError::Unavailable(fault)
    } else {
        StoreError::Incompatible(fault)
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

/// The server answered with something that this version does not understand.
pub(super) fn unreadable(what: &str) -> StoreError {
    StoreError::Incompatible(format!("{what} cannot be read").into())
}

/// As [`unreadable`], with the error of whoever tried to read it.
pub(super) fn unreadable_because<E>(what: &str) -> impl FnOnce(E) -> StoreError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| StoreError::Incompatible(StoreFault::because(format!("{what} cannot be read"), error))
}

/// How servers say that a script may not use a command or key, up to 7.0 and from 7.2 on. They give it no code.
const REFUSED_IN_SCRIPT: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];

/// Whether a script was stopped because its caller may not use a command or key.
fn is_refused_in_script(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| REFUSED_IN_SCRIPT.iter().any(|words| detail.contains(words)))
}

fn is_parse(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Parse | ErrorKind::UnexpectedReturnType)
}

fn fault(error: &RedisError, secret: Option<&str>) -> StoreFault {
    match secret.filter(|secret| !secret.is_empty()) {
        // As a source, the error would show it.
        Some(secret) if format!("{error} {error:?}").contains(secret) => {
            error.to_string().replace(secret, "***").into()
        }
        _ => StoreFault::of(error.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn server(code: &str) -> RedisError {
        redis::make_extension_error(code.into(), Some("about hunter2".into()))
    }

    #[test]
    fn refusals_and_outages_are_distinguished() {
        assert!(matches!(translate(&server("OOM"), None), StoreError::Refused(_)));
        assert!(matches!(translate(&server("BUSY"), None), StoreError::Unavailable(_)));
        assert!(matches!(translate(&server("WRONGTYPE"), None), StoreError::Incompatible(_)));
        let io = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert!(matches!(translate(&io, None), StoreError::Unavailable(_)));
    }

    #[test]
    fn a_right_that_a_script_lacks_is_a_refusal() {
        for detail in [
            "The user executing the script can't run this command or subcommand script: 1, on @user_script:2.",
            "ACL failure in script: User keyward has no permissions to run the 'xadd' command script: 1",
        ] {
            let error = redis::make_extension_error("ERR".into(), Some(detail.into()));
            assert!(matches!(translate(&error, None), StoreError::Refused(_)), "{detail}");
        }
    }

    #[test]
    fn the_error_of_the_client_is_kept_as_the_cause() {
        let error = translate(&server("OOM"), Some("other"));
        assert_eq!(error.cause::<RedisError>().and_then(RedisError::code), Some("OOM"));
    }

    #[test]
    fn passwords_do_not_show_in_an_error_nor_in_its_sources() {
        let error = translate(&server("OOM"), Some("hunter2"));
        let sources = std::iter::successors(Some(&error as &dyn Error), |error| (*error).source());
        for error in sources {
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(error.to_string().contains("about ***"), "{error}");
    }
}
