//! A batch key at work off its schedule.

use super::{Attack, Tellable, Thief};
use crate::{
    domain::{HOUR, Millis},
    simulate::calendar::{Span, arrivals, hour},
};

pub(super) const ATTACK: Attack = Attack {
    name: "batch_off_schedule",
    about: "a nightly job's key at work in the day",
    // A job that ran once or twice has no schedule yet.
    tellable: Tellable::Yes,
    victims: &["nightly"],
    strike: |random, victim| {
        let length = (random.between(0.5, 2.0) * HOUR as f64) as Millis;
        // The schedule is where the holder's requests are, whatever the zone.
        let scheduled = victim.records.first().map_or(2.0, |record| hour(record.timestamp, 0));
        let window = victim.only_after_runs(3);
        let mut from = window.before((window.to - length).max(window.from + 1)).moment(random);
        let away = random.between(5.0, 18.0);
        from += ((scheduled + away - hour(from, 0)) * HOUR as f64) as Millis;
        if from < window.from {
            from += 24 * HOUR;
        } else if from + length > window.to {
            from -= 24 * HOUR;
        }
        let thief = random.chance(0.5).then(|| Thief::abroad(random, victim, 100.0));
        let per_hour = (victim.usual_per_hour() * random.between(0.6, 1.5)).clamp(60.0, 400.0);
        let times = arrivals(random, Span { from, to: from + length }, per_hour, |_| 1.0);
        let ask = |time| match &thief {
            Some(thief) => thief.request(random, victim, time),
            None => victim.own_request(random, time),
        };
        times.into_iter().map(ask).collect()
    },
};
