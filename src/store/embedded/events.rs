//! The event log: written through the writer, read by readers.

use super::{EmbeddedStore, event_rows, readers::Size};
use crate::{
    domain::event::Event,
    store::{EventLog, EventQuery, EventWriter, LogPage, LogPosition, Page, StoreError, StoreResult},
};

impl EventWriter for EmbeddedStore {
    fn append<'a>(&'a self, events: &'a [Event]) -> StoreResult<'a, Vec<Event>> {
        let events = events.to_vec();
        Box::pin(self.write(move |connection, effects| event_rows::append(connection, events, effects)))
    }
}

impl EventLog for EmbeddedStore {
    fn events<'a>(&'a self, query: &'a EventQuery) -> StoreResult<'a, Page<Event>> {
        let query = query.clone();
        Box::pin(self.read(move |connection| event_rows::list(connection, &query)))
    }

    fn event<'a>(&'a self, id: &'a str) -> StoreResult<'a, Option<Event>> {
        let id = id.to_owned();
        Box::pin(self.read(move |connection| event_rows::find(connection, &id)))
    }

    fn log_end(&self) -> StoreResult<'_, LogPosition> {
        Box::pin(async { Ok(event_rows::position(self.memory.log_end())) })
    }

    fn position_after<'a>(&'a self, id: &'a str) -> StoreResult<'a, LogPosition> {
        let (id, end) = (id.to_owned(), self.memory.log_end());
        Box::pin(self.read(move |connection| event_rows::after(connection, &id, end)))
    }

    fn read_log<'a>(&'a self, position: &'a LogPosition, limit: usize) -> StoreResult<'a, LogPage> {
        Box::pin(async move {
            let end = self.memory.log_end();
            let seq = event_rows::seq_of(position, end)?;
            if seq == end {
                return Ok(LogPage { events: Vec::new(), next: event_rows::position(seq), gap: false });
            }
            self.read_sized(Size::Own, move |connection| event_rows::follow(connection, seq, limit)).await
        })
    }

    fn advance(&self, _position: &LogPosition, id: &str) -> Result<LogPosition, StoreError> {
        event_rows::behind(id)
    }
}
