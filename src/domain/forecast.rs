//! What a day and a month will have used by their end, from the hours of the last four weeks.
//!
//! Expected is what was used so far, and for each hour to come the mean of the past hours of its kind (the same hour of
//! the same weekday), recent weeks counting more. How far a day may stray from that is taken from how far past days
//! did, each judged by the others. These are expectations, so this is the one place where amounts are binary fractions;
//! what was used is exact. `past` says what past hours make expect of one amount, `spread` how far days stray from it.

mod basis;
mod past;
mod spread;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use basis::Basis;
pub use past::{HISTORY, Outlook};

use self::past::Past;
use super::{
    Millis,
    calendar::{Calendar, Zone},
    usage::{Bucket, Totals},
};

/// A period that is not over.
#[derive(Debug, Clone, PartialEq)]
pub struct Period {
    /// When the period began, at midnight of the zone.
    pub from: Millis,
    /// When the period ends, at midnight of the zone.
    pub to: Millis,
    /// What was used so far: exact.
    pub so_far: Totals,
    /// Nano-dollars at its end.
    pub cost_nanos: Outlook,
    /// Tokens at its end.
    pub tokens: Outlook,
    /// Requests at its end.
    pub requests: Outlook,
}

/// What is expected of a day and a month.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// From which past hours each hour to come is expected.
    pub basis: Basis,
    /// How many past hours are known.
    pub hours: usize,
    /// From how many whole days the interval of the cost is; 0: there is none.
    pub days: usize,
    /// The day that is not over.
    pub day: Period,
    /// The month that is not over.
    pub month: Period,
}

/// The first hour that a forecast wants to know of.
pub fn begins(now: Millis, zone: &Zone) -> Millis {
    Bucket::Hour.start(Calendar::Month.period(now, zone).0.min(now - HISTORY))
}

/// Looks ahead from what was used in each hour of UTC since [`begins`]; hours without usage may be left out.
pub fn forecast(hours: &BTreeMap<Millis, Totals>, now: Millis, zone: &Zone) -> Forecast {
    let costs = Past::of(hours, now, zone, |t| t.cost_nanos);
    let tokens = Past::of(hours, now, zone, |t| t.tokens);
    let requests = Past::of(hours, now, zone, |t| t.requests);
    let period = |calendar: Calendar| {
        let (from, to) = calendar.period(now, zone);
        let mut so_far = Totals::default();
        hours.range(Bucket::Hour.start(from)..).for_each(|(_, totals)| so_far.merge(totals));
        Period {
            from,
            to,
            so_far,
            cost_nanos: costs.outlook(so_far.cost_nanos, now, to, zone),
            tokens: tokens.outlook(so_far.tokens, now, to, zone),
            requests: requests.outlook(so_far.requests, now, to, zone),
        }
    };
    Forecast {
        basis: costs.basis,
        hours: costs.hours,
        days: if costs.spread.is_some() { costs.days } else { 0 },
        day: period(Calendar::Day),
        month: period(Calendar::Month),
    }
}
