//! Standings: SQLite is the truth, and memory has the numbers of each, for the hot path.

use rusqlite::Connection;

use super::{
    Backing, EmbeddedStore,
    effects::{Effect, Effects},
    event_rows,
    readers::Size,
    sqlite::failed,
    standing_rows,
};
use crate::{
    domain::{Millis, event::Event, subject::Subject},
    store::{
        Respond, Responded, StandingLookup, StandingRecord, StandingStore, StoreError, StoreResult,
        expired::ban_expired,
    },
};

impl StandingLookup for EmbeddedStore {
    fn standing<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StandingRecord>> {
        let subject = subject.clone();
        Box::pin(self.read_sized(Size::Small, move |connection| standing_rows::find(connection, &subject)))
    }

    fn standings_in_force(&self, now: Millis) -> StoreResult<'_, Vec<StandingRecord>> {
        Box::pin(self.read_sized(Size::Own, move |connection| standing_rows::in_force(connection, now)))
    }
}

impl StandingStore for EmbeddedStore {
    fn respond<'a>(&'a self, change: &'a Respond) -> StoreResult<'a, Responded> {
        self.memory.tell(change.now);
        let change = change.clone();
        Box::pin(self.write(move |connection, effects| respond(connection, change, effects)))
    }

    fn expire_bans(&self, now: Millis) -> StoreResult<'_, usize> {
        Box::pin(async move {
            self.memory.tell(now);
            if let Backing::Memory(core) = &self.backing {
                core.lock().sweep(now)?;
            }
            if !self.memory.something_ended(now) {
                return Ok(0);
            }
            self.write(move |connection, effects| expire_bans(connection, now, effects)).await
        })
    }

    fn forget<'a>(&'a self, subject: &'a Subject, event: &'a Event) -> StoreResult<'a, ()> {
        let (subject, event) = (subject.clone(), event.clone());
        Box::pin(self.write(move |connection, effects| forget(connection, subject, event, effects)))
    }
}

/// Every standing passes through the one writer, so reading the stored version inside
/// its transaction is a true compare-and-set.
pub(super) fn respond(
    connection: &Connection,
    respond: Respond,
    effects: &mut Effects,
) -> Result<Responded, StoreError> {
    let Respond { subject, standing, refunds, events, .. } = respond;
    if let Some((standing, detail)) = &standing {
        let current = standing_rows::current(connection, &subject)?;
        if current.version.checked_add(1) != Some(standing.version) {
            return Ok(Responded::Conflict(current));
        }
        standing_rows::put(connection, &subject, standing, detail)?;
        effects.extend(standing.until.map(Effect::Ends));
    }
    let events = event_rows::append(connection, events, effects)?;
    effects.push(Effect::Apply { subject, standing: standing.map(|(standing, _)| standing), refunds });
    Ok(Responded::Done(events))
}

fn expire_bans(connection: &Connection, now: Millis, effects: &mut Effects) -> Result<usize, StoreError> {
    let mut events = Vec::new();
    for record in standing_rows::run_out(connection, now)? {
        standing_rows::note_end(connection, &record.subject)?;
        events.extend(ban_expired(&record.subject, &record.standing, now));
    }
    effects.push(Effect::NextEnd(standing_rows::next_end(connection)?.unwrap_or(Millis::MAX)));
    event_rows::append(connection, events, effects).map(|events| events.len())
}

fn forget(
    connection: &Connection,
    subject: Subject,
    event: Event,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    standing_rows::delete(connection, &subject)?;
    for table in ["subjects", "profiles"] {
        let sql = format!("DELETE FROM {table} WHERE subject = ?");
        connection.execute(&sql, [subject.as_str()]).map_err(failed)?;
    }
    event_rows::append(connection, vec![event], effects)?;
    effects.push(Effect::Forget(subject));
    Ok(())
}
