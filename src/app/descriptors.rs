//! How many connections fit the files that the system lets this process open.

/// Files that are not for connections of callers: the store, sinks, databases, the log.
const RESERVED: u64 = 160;
/// Connections that are allowed whatever the system says: fewer would serve nobody.
const LEAST: u64 = 16;

/// The most connections of those wanted that fit the limit on open files, after it was raised as far as it may be.
pub(super) fn fit(wanted: usize) -> usize {
    let Some(allowed) = raise(wanted as u64 + RESERVED) else { return wanted };
    let fitting = within(wanted, allowed);
    if fitting < wanted {
        tracing::warn!(
            server.max_connections = wanted,
            open_files = allowed,
            connections = fitting,
            "the limit on open files is too low for server.max_connections; fewer connections are taken. \
             Raise it (ulimit -n, LimitNOFILE) to {} or lower the setting",
            wanted as u64 + RESERVED
        );
    }
    fitting
}

fn within(wanted: usize, allowed: u64) -> usize {
    let room = allowed.saturating_sub(RESERVED).max(LEAST);
    usize::try_from(room).unwrap_or(usize::MAX).min(wanted)
}

/// Raises the limit on open files to what is needed, as far as it may be raised; what it is then. `None`: there is
/// none.
#[cfg(unix)]
fn raise(needed: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.filter(|current| *current < needed)?;
    let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => Some(raised),
        Err(error) => {
            tracing::debug!(%error, "the limit on open files cannot be raised");
            Some(current)
        }
    }
}

#[cfg(not(unix))]
fn raise(_needed: u64) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_the_store_and_are_never_none() {
        assert_eq!(within(4_096, 1_024), 864);
        assert_eq!(within(4_096, 1_000_000), 4_096);
        assert_eq!(within(4_096, 64), 16);
        assert_eq!(within(4, 64), 4);
    }
}
