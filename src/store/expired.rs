//! The event for a ban that ran out, the same in every store.

use crate::domain::{
    Millis,
    decision::{Action, Would},
    event::{BanExpired, Event, EventType},
    finding::Severity,
    standing::{Standing, StandingState},
    subject::Subject,
};

/// The event for a temporary ban that ran out by `now`; `None` for what is none: throttles end in silence.
pub(super) fn ban_expired(subject: &Subject, standing: &Standing, now: Millis) -> Option<Event> {
    let until = standing.until.filter(|until| *until <= now)?;
    if standing.state != StandingState::TemporarilyBanned {
        return None;
    }
    let event = Event::new(now, EventType::BanExpired, Severity::Low, Some(subject.clone()));
    Some(Event {
        detector: Some("ladder".to_owned()),
        would: standing.unenforced.then(|| Would::go_on(Action::None)),
        ..event.with(&BanExpired { since: standing.since, until })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{HOUR, event::golden};

    #[test]
    fn a_ban_that_ran_out_is_written_as_its_golden_file_says() {
        let since = 1_772_442_000_000;
        let state = StandingState::TemporarilyBanned;
        let standing = Standing { state, since, until: Some(since + HOUR), ..Standing::default() };
        golden::check("", &ban_expired(&Subject::key("k1:9f2c"), &standing, since + 2 * HOUR).unwrap());
    }
}
