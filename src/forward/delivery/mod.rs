//! How events reach a sink, the same for every kind: in order per subject, at least once, and with what will never be
//! taken put aside.
//!
//! One instance leads a sink at a time (`leader`). It renews its lease every quarter of the lease's time. Who finds a
//! lease that ran out takes over behind the cursor. An instance that was held up may still send a batch that another
//! has sent already, but it cannot move the cursor. So an event is sent at least once, and twice only when a sender
//! ends, or an answer is lost, between a batch and its cursor.
//!
//! `sender` is who sends and `run` its loop: read on in the log, send, move the cursor. `attempt` is one batch and
//! what follows when it fails, `poison` finds out whether an event is why, `cursor` writes how far the sink has come,
//! `redelivery` sends dead letters again, `log_watch` says when to look at the log. `progress` is what all of these
//! share.

mod attempt;
mod cursor;
mod leader;
mod log_watch;
mod poison;
mod progress;
mod redelivery;
mod run;
mod sender;

pub use leader::LEASE;
pub use sender::Sender;
