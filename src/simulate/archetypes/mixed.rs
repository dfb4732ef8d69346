//! One key that carries two or three archetypes at once.

use super::{
    Archetype, Life, batch,
    flaky::Provider,
    growing,
    growing::Growth,
    interactive,
    interactive::{Desk, Habits},
    mobile,
    mobile::Phone,
    service,
    service::Service,
    traveller,
    traveller::Trip,
    vpn,
    vpn::Tunnel,
};
use crate::{
    domain::DAY,
    simulate::{calendar::Span, random::Random},
};

/// Parts drawn until one begins with the key.
const TRIES: u32 = 20;

/// How much less and how much more than usual mixed keys are used.
const RATES: [f64; 2] = [0.04, 1.2];

pub(super) const INTERACTIVE_AND_BATCH: Archetype = Archetype {
    name: "interactive_and_batch",
    about: "a person in business hours, and their nightly job with the same key",
    rates: RATES,
    live: |random, span, rate| blend(random, span, rate, &interactive::ARCHETYPE, &[batch::NIGHTLY]),
};

pub(super) const SERVICE_AND_TRAVELLER: Archetype = Archetype {
    name: "service_and_traveller",
    about: "a service, and its maker who travels, with the same key",
    rates: RATES,
    live: |random, span, rate| blend(random, span, rate, &traveller::ARCHETYPE, &[service::ONE_REGION]),
};

pub(super) const MOBILE_AND_BATCH: Archetype = Archetype {
    name: "mobile_and_batch",
    about: "a phone, and a nightly job with the same key",
    rates: RATES,
    live: |random, span, rate| blend(random, span, rate, &mobile::ARCHETYPE, &[batch::NIGHTLY]),
};

pub(super) const THREE_REGIONS_AND_BATCH: Archetype = Archetype {
    name: "three_regions_and_batch",
    about: "a service on three continents, and a nightly job with the same key",
    rates: RATES,
    live: |random, span, rate| blend(random, span, rate, &service::THREE_REGIONS, &[batch::NIGHTLY]),
};

pub(super) const MEDLEY: Archetype = Archetype {
    name: "medley",
    about: "any two or three archetypes with the same key",
    rates: RATES,
    live: |random, span, rate| {
        let mut any = [
            interactive::ARCHETYPE,
            batch::NIGHTLY,
            service::ONE_REGION,
            service::THREE_REGIONS,
            growing::ARCHETYPE,
            mobile::ARCHETYPE,
            traveller::ARCHETYPE,
            vpn::ARCHETYPE,
        ];
        random.shuffle(&mut any);
        let others = if random.chance(0.7) { 1 } else { 2 };
        blend(random, span, rate, &any[0], &any[1..=others])
    },
};

pub(super) const VPN_AND_GROWING: Archetype = Archetype {
    name: "vpn_and_growing",
    about: "a person behind a VPN who does more every day",
    rates: Habits::RATES,
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let growth = Growth::draw(random, span, habits.persona.home.offset);
        habits.grow(growth.most());
        let tunnel = Tunnel::draw(random, habits.persona.home);
        let mut times = habits.sittings(random, span, |time| growth.load(time) / growth.most());
        tunnel.take(random, &mut times);
        habits.into_life(random, times)
    },
};

pub(super) const MOBILE_TRAVELLER: Archetype = Archetype {
    name: "mobile_traveller",
    about: "a phone that travels: another country's carrier for some days",
    rates: Habits::RATES,
    live: |random, span, rate| {
        let mut habits = Habits::draw(random, rate);
        let home = habits.persona.home;
        let phone = Phone::draw(random);
        let trips = Trip::plan(random, span, home);
        let mut times = habits.sittings(random, span, |_| 1.0);
        times.retain(|(time, _)| trips.iter().all(|trip| !trip.span().contains(*time)));
        phone.carry(random, home, &mut times);
        for trip in &trips {
            let mut desk = Desk::away(random, trip.city);
            let mut away = habits.sittings_at(random, trip.stay(), &mut desk, |_| 1.0);
            phone.carry(random, trip.city, &mut away);
            times.extend(away);
        }
        habits.into_life(random, times)
    },
};

pub(super) const GROWING_AND_FLAKY: Archetype = Archetype {
    name: "growing_and_flaky",
    about: "a service that grows, whose clients try again when the provider fails",
    rates: Service::RATES,
    live: |random, span, rate| {
        let (service, growth) = growing::service(random, span, rate);
        let times = service.times(random, span, growth.most(), |time| growth.load(time));
        let mut life = service.into_life(random, times);
        Provider::draw(random, span, 1.0).answer(random, &life.persona, &mut life.records);
        life
    },
};

/// Lives of several archetypes under the key of the first.
fn blend(random: &mut Random, span: Span, rate: f64, first: &Archetype, others: &[Archetype]) -> Life {
    let mut part =
        |archetype: &Archetype| from_the_start(random, span, |random| (archetype.live)(random, span, rate));
    let first = part(first);
    let others = others.iter().map(part).collect();
    under_one_key(first, others)
}

/// Draws a part of a key's life until one begins on the key's first working day: a second user, place and client that
/// turn up weeks later are what a theft looks like, and nobody can tell.
pub(super) fn from_the_start(
    random: &mut Random,
    span: Span,
    mut draw: impl FnMut(&mut Random) -> Life,
) -> Life {
    let begins_early = |life: &Life| {
        // At its noon, the day is the same in most of the world.
        let rests = |time| life.persona.week.rests(time, life.persona.home.offset);
        let wait = if rests(span.from + DAY / 2) { 3 * DAY } else { DAY };
        life.records.iter().any(|record| record.timestamp < span.from + wait)
    };
    let mut life = draw(random);
    for _ in 1..TRIES {
        if begins_early(&life) {
            break;
        }
        life = draw(random);
    }
    life
}

/// Puts lives under the key of the first.
pub(super) fn under_one_key(mut all: Life, others: Vec<Life>) -> Life {
    let tells_cost = all.persona.reports_cost && others.iter().all(|life| life.persona.reports_cost);
    for mut other in others {
        let share = other.records.len() as f64 / (all.records.len() + other.records.len()).max(1) as f64;
        other.records.iter_mut().for_each(|record| all.persona.sign(record));
        all.persona.join(&other.persona, share);
        all.records.append(&mut other.records);
    }
    if !tells_cost {
        all.persona.reports_cost = false;
        all.records.iter_mut().for_each(|record| record.cost_usd = None);
    }
    all
}
