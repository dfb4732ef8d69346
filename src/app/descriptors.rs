//! How many connections fit the files that the system lets this process open.

/// Files that are not for connections of callers: the store, sinks, databases, the log.
const RESERVED: u64 = 160;
/// Connections that are allowed whatever the system says: fewer would serve nobody.
const LEAST: u64 = 16;

/// What has connections of callers: the listeners that each may take `server.max_connections`, and what else there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// How many each listener may have open.
    pub(super) connections: usize,
    /// Files that one connection of each of them needs, summed up.
    pub(super) files_each: usize,
    /// Connections of listeners with a number of their own.
    pub(super) besides: usize,
}

impl Wanted {
    fn files(self) -> u64 {
        let files = self.connections.saturating_mul(self.files_each).saturating_add(self.besides);
        (files as u64).saturating_add(RESERVED)
    }

    fn within(self, allowed: u64) -> usize {
        let room = allowed.saturating_sub(RESERVED).saturating_sub(self.besides as u64);
        let each = (room / self.files_each.max(1) as u64).max(LEAST);
        usize::try_from(each).unwrap_or(usize::MAX).min(self.connections)
    }
}

/// The most connections of each listener that fit the limit on open files, after it was raised as far as it may be.
pub(super) fn fit(wanted: Wanted) -> usize {
    let Some(allowed) = raise(wanted.files()) else { return wanted.connections };
    let fitting = wanted.within(allowed);
    if fitting < wanted.connections {
        tracing::warn!(
            server.max_connections = wanted.connections,
            open_files = allowed,
            connections = fitting,
            "the limit on open files is too low for server.max_connections; fewer connections are taken by each \
             listener. Raise it (ulimit -n, LimitNOFILE) to {} or lower the setting",
            wanted.files()
        );
    }
    fitting
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
        let within = |connections, files_each, besides, allowed| {
            Wanted { connections, files_each, besides }.within(allowed)
        };
        assert_eq!(within(4_096, 1, 0, 1_024), 864);
        assert_eq!(within(4_096, 1, 0, 1_000_000), 4_096);
        assert_eq!(within(4_096, 1, 0, 64), 16);
        assert_eq!(within(4, 1, 0, 64), 4);
    }

    #[test]
    fn listeners_share_what_files_there_are() {
        let wanted = Wanted { connections: 4_096, files_each: 4, besides: 64 };
        assert_eq!(wanted.within(1_024), 200, "of 1,024 files 160 and 64 are for others");
        assert_eq!(wanted.files(), 4 * 4_096 + 64 + 160);
        assert_eq!(wanted.within(wanted.files()), 4_096);
    }
}
