//! What a change in SQLite means to memory, which learns it once the change is committed.

use crate::{
    domain::{Millis, reservation::Stage, standing::Standing, subject::Subject},
    store::Refund,
};

/// What memory learns after the commit, in this order. Nothing of it is visible before.
#[derive(Debug)]
pub(super) enum Effect {
    /// A standing is in force, and charges are taken back.
    Apply { subject: Subject, standing: Option<Standing>, refunds: Vec<Refund> },
    /// A subject is forgotten: windows, peers, standing and profile.
    Forget(Subject),
    /// The log has grown to this sequence number.
    LogEnd(i64),
    /// The documents have this revision.
    Revision(u64),
    /// Something runs out at this time.
    Ends(Millis),
    /// The next thing to run out does so now; earlier notes are void.
    NextEnd(Millis),
    /// Usage has counted a reservation as it was at this stage.
    Counted(String, Stage),
}

/// What a transaction means to memory, in the order of its changes.
pub(super) type Effects = Vec<Effect>;
