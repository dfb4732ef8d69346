//! Sending security events on to SIEMs.
//!
//! What lives here: how an event is written for others ([`format`]). It knows the domain alone.

pub mod format;
