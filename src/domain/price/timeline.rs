//! The prices of a model over time.

use std::sync::Arc;

use super::Price;
use crate::domain::Millis;

/// The prices of a model, each from its moment on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeline(Vec<(Millis, Arc<Price>)>);

impl Timeline {
    /// Prices with the moment from which each holds, until the next; in any order.
    pub fn new(mut prices: Vec<(Millis, Arc<Price>)>) -> Self {
        prices.sort_by_key(|(from, _)| *from);
        Self(prices)
    }

    /// The price at a moment; `None` before the first.
    pub fn at(&self, time: Millis) -> Option<&Arc<Price>> {
        self.since(time).map(|(_, price)| price)
    }

    /// The price at a moment and when it began; `None` before the first.
    pub fn since(&self, time: Millis) -> Option<(Millis, &Arc<Price>)> {
        let begun = self.0.partition_point(|(from, _)| *from <= time);
        self.0.get(begun.checked_sub(1)?).map(|(from, price)| (*from, price))
    }

    /// Several as one, the best first: at any moment, the price of the first that has one then.
    pub fn merged(best_first: &[&Self]) -> Self {
        let mut starts: Vec<Millis> =
            best_first.iter().flat_map(|t| t.0.iter().map(|(from, _)| *from)).collect();
        starts.sort_unstable();
        starts.dedup();
        let at = |time| best_first.iter().find_map(|timeline| timeline.at(time));
        Self(starts.into_iter().filter_map(|from| Some((from, at(from)?.clone()))).collect())
    }
}
