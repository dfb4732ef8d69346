//! How one key differs from the next of the same archetype: how much it is used, since when, what its middleware
//! tells, and whether its token ever expires on it.
//!
//! Drawn over wide ranges and apart from the archetypes, so that each archetype is met rare and busy, well and badly
//! told, old and young.

use super::{
    archetypes::{Archetype, Life},
    calendar::Span,
    persona::fail,
    random::Random,
    wire::WireRecord,
};
use crate::domain::{Millis, SECOND};

/// The circumstances of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Circumstances {
    /// Multiplies how much the holder does.
    pub rate: f64,
    /// The part of the run that is over when the key is made.
    pub made: f64,
    /// Whether the middleware tells the client.
    pub tells_client: bool,
    /// Whether the middleware tells the model.
    pub tells_model: bool,
    /// Whether the token expires once, and is noticed after a few refusals.
    pub expires: bool,
}

impl Circumstances {
    /// Draws the circumstances of a key of an archetype.
    pub fn draw(random: &mut Random, archetype: &Archetype) -> Self {
        let [least, most] = archetype.rates;
        Self {
            // As many keys between 1 and 10 requests as between 10 and 100.
            rate: random.between(f64::ln(least), f64::ln(most)).exp(),
            made: if random.chance(0.12) { random.between(0.33, 0.8) } else { 0.0 },
            tells_client: !random.chance(0.1),
            tells_model: !random.chance(0.08),
            expires: random.chance(0.06),
        }
    }

    /// The time in which the key exists.
    pub fn life(&self, span: Span) -> Span {
        span.after(span.from + (span.length() as f64 * self.made) as Millis)
    }

    /// What becomes of a life in these circumstances.
    pub fn befall(&self, random: &mut Random, life: &mut Life) {
        if self.expires {
            expire(random, &mut life.records);
        }
    }

    /// What the middleware tells of a request.
    pub fn tell(&self, mut record: WireRecord) -> WireRecord {
        if !self.tells_client {
            record.user_agent = "".into();
        }
        if !self.tells_model {
            record.model = None;
        }
        record
    }
}

/// Five to eight requests in a row are refused: those that the holder makes anyway, or tries in quick succession.
fn expire(random: &mut Random, records: &mut Vec<WireRecord>) {
    records.sort_by_key(|record| record.timestamp);
    let tries = random.whole(5, 8) as usize;
    if records.len() < 2 * tries {
        return;
    }
    let first = random.below(records.len() - tries);
    if random.chance(0.5) {
        for record in &mut records[first..first + tries] {
            fail(record, 401);
        }
        return;
    }
    let mut again = records[first].clone();
    fail(&mut records[first], 401);
    fail(&mut again, 401);
    for _ in 1..tries {
        again.timestamp += random.whole(SECOND, 15 * SECOND);
        records.push(again.clone());
    }
}
