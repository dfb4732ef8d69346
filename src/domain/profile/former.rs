//! Profiles as they were stored before hours were packed, to be read.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Cell, DaySet, Days, Histogram, History, HourStat, Later, Outcomes, Profile, Table};
use crate::domain::Millis;

/// The same as [`History`], with a row for each hour.
#[derive(Deserialize)]
struct FormerHistory {
    hours: BTreeMap<u32, HourStat>,
    days: Days,
}

/// A profile as it was stored before hours were packed: all else is as it was, in this order.
#[derive(Deserialize)]
pub(crate) struct FormerProfile {
    first_seen: Option<Millis>,
    last_seen: Option<Millis>,
    requests: u64,
    days: DaySet,
    history: FormerHistory,
    sizes: Histogram,
    outcomes: Outcomes,
    prefixes: Table<u64>,
    asns: Table<u32>,
    countries: Table<[u8; 2]>,
    cells: Table<Cell>,
    moves: Table<(Cell, Cell)>,
    clients: Table<String>,
    endpoints: Table<String>,
    models: Table<String>,
}

impl From<FormerProfile> for Profile {
    fn from(former: FormerProfile) -> Self {
        Self {
            first_seen: former.first_seen,
            last_seen: former.last_seen,
            requests: former.requests,
            days: former.days,
            history: History::of(former.history.hours.into_iter(), former.history.days),
            sizes: former.sizes,
            outcomes: former.outcomes,
            prefixes: former.prefixes,
            asns: former.asns,
            countries: former.countries,
            cells: former.cells,
            moves: former.moves,
            clients: former.clients,
            endpoints: former.endpoints,
            models: former.models,
            later: Later::default(),
        }
    }
}
