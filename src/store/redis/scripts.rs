//! The scripts and how they are called: by their hash, which is their version, and by their source where the
//! server does not have them (after a restart, a failover, a flush). Functions would need an administrator to
//! load them on every node, and two versions of this program would overwrite each other's.

use std::sync::LazyLock;

use redis::{Cmd, Script};

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)+) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Source> = LazyLock::new(|| {
            Source::new(include_str!(concat!("../../../migrations/redis/", $file)))
        });)+
    };
}

scripts! {
    /// Charges the windows of a subject.
    OBSERVE = "0001_observe.lua";
    /// Changes a standing, takes charges back, appends events.
    RESPOND = "0002_respond.lua";
    /// Takes a standing that ran out off the list.
    EXPIRE = "0003_expire.lua";
    /// Writes profiles that nobody else has written since.
    PROFILE = "0004_profile.lua";
    /// Writes or deletes a document.
    DOCUMENT = "0005_document.lua";
    /// Claims a piece of work, looks at a claim, or keeps the answer to a claimed request.
    CLAIM = "0006_claim.lua";
    /// Deletes all of a subject but its events.
    FORGET = "0007_forget.lua";
    /// Notes facts about the keyspace that nobody has noted.
    META = "0008_meta.lua";
    /// Adds a batch of usage to a roll-up, once.
    USAGE = "0009_usage.lua";
    /// Charges windows and counters, all or none; claims, settles and reserves.
    CHARGE = "0010_charge.lua";
    /// Charges, changes or shows counters.
    COUNTERS = "0011_counters.lua";
    /// Shows reservations whose stage ended, or all, and forgets what was counted when it was seen.
    ENDED_RESERVATIONS = "0012_reservation.lua";
    /// Ends what is due of a reservation, or gives it back before.
    END_RESERVATION = "0013_end_reservation.lua";
    /// Leads a sink, moves it on, or acts on its dead letters.
    SINK = "0014_sink.lua";
    /// Shows which documents changed after a revision.
    CHANGES = "0015_changes.lua";
    /// Has a reservation end later, or notes that it is dispatched.
    CHANGE_RESERVATION = "0016_change_reservation.lua";
    /// Counts what an instance owes to a partition, once.
    DEBTS = "0017_debts.lua";
    /// Shows and notes what usage counts of reservations.
    RESERVATION_USAGE = "0018_reservation_usage.lua";
    /// Says which commands the user may not use.
    RIGHTS = "0019_rights.lua";
}

/// What scripts may include, by the line that asks for it.
const PARTS: [(&str, &str); 6] = [
    ("-- @include 0002_respond.lua", include_str!("../../../migrations/redis/0002_respond.lua")),
    ("-- @include 0001_observe.lua", include_str!("../../../migrations/redis/0001_observe.lua")),
    ("-- @include parts/corrections.lua", include_str!("../../../migrations/redis/parts/corrections.lua")),
    ("-- @include parts/counters.lua", include_str!("../../../migrations/redis/parts/counters.lua")),
    ("-- @include parts/windows.lua", include_str!("../../../migrations/redis/parts/windows.lua")),
    ("-- @include parts/reservations.lua", include_str!("../../../migrations/redis/parts/reservations.lua")),
];

/// A script and its hash.
pub(super) struct Source {
    code: String,
    hash: String,
}

impl Source {
    fn new(code: &str) -> Self {
        let mut code = code.to_owned();
        for (line, part) in PARTS {
            code = code.replace(line, part.trim_start_matches("#!lua\n"));
        }
        Self { hash: Script::new(&code).get_hash().into(), code }
    }
}

/// One call of a script.
pub(super) struct Call {
    source: &'static Source,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Call {
    /// A call without keys or arguments yet.
    pub(super) fn new(source: &'static Source) -> Self {
        Self { source, keys: Vec::new(), args: Vec::new() }
    }

    /// Adds a key behind those there are.
    pub(super) fn key(mut self, key: String) -> Self {
        self.keys.push(key);
        self
    }

    /// Adds keys behind those there are, in their order.
    pub(super) fn keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.keys.extend(keys);
        self
    }

    /// Adds an argument behind those there are.
    pub(super) fn arg(mut self, arg: impl Into<Vec<u8>>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The command that calls it by its hash.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.source.hash)
    }

    /// The command that brings the source along.
    pub(super) fn by_source(&self) -> Cmd {
        self.command("EVAL", &self.source.code)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.args);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::window::{WINDOW_MILLIS, bucket_expires_at, bucket_millis};

    const ALL: [&LazyLock<Source>; 19] = [
        &OBSERVE,
        &RESPOND,
        &EXPIRE,
        &PROFILE,
        &DOCUMENT,
        &CLAIM,
        &FORGET,
        &META,
        &USAGE,
        &CHARGE,
        &COUNTERS,
        &ENDED_RESERVATIONS,
        &END_RESERVATION,
        &SINK,
        &CHANGES,
        &DEBTS,
        &CHANGE_RESERVATION,
        &RESERVATION_USAGE,
        &RIGHTS,
    ];

    #[test]
    fn the_scripts_and_the_windows_agree_on_buckets() {
        let list = |numbers: [i64; 4]| numbers.map(|n| n.to_string()).join(", ");
        let buckets = format!("BUCKET = {{{}}}", list(WINDOW_MILLIS.map(bucket_millis)));
        let spans = format!("SPAN = {{{}}}", list(WINDOW_MILLIS.map(|w| bucket_expires_at(w, 0))));
        let (_, windows) = PARTS[4];
        assert!(windows.contains(&buckets) && windows.contains(&spans), "{windows}");
    }

    #[test]
    fn the_bucket_rule_stands_in_one_part_and_every_script_has_its_parts() {
        for script in ALL {
            assert!(!script.code.contains("@include"), "{}", script.code);
            let own = PARTS.iter().fold(script.code.clone(), |code, (_, part)| {
                code.replace(part.trim_start_matches("#!lua\n"), "")
            });
            assert!(["937", "60999", "BUCKET = "].iter().all(|rule| !own.contains(rule)), "{own}");
        }
    }

    #[test]
    fn every_script_is_refused_whole_when_memory_is_out_and_explains_itself() {
        for script in ALL {
            assert!(script.code.starts_with("#!lua\n-- "));
            assert!(
                ["-- KEYS", "-- ARGV", "-- Example", "error_reply"].iter().all(|t| script.code.contains(t))
            );
            assert!(["SCAN", "TIME\"", "random"].iter().all(|t| !script.code.contains(t)));
        }
    }
}
