//! Labelled traffic: rightful holders of keys and attackers, for `keyward simulate`, `keyward demo` and the
//! scenario tests. The same plan gives the same traffic; nothing here reads a clock.
//!
//! Addresses come from the demo geo database, so its networks and places are known to the detectors.
//! `archetypes` are the benign keys and `attacks` what befalls some of them, one file each. `score` compares what
//! was decided with the labels.

pub mod archetypes;
pub mod atlas;
pub mod attacks;
pub mod calendar;
pub mod persona;
pub mod random;
pub mod score;
#[cfg(test)]
mod tests;
mod wire;

pub use wire::{Labelled, WireRecord};

use archetypes::Archetype;
use attacks::{Attack, Victim};
use calendar::Span;
use random::Random;

use crate::domain::{DAY, Millis};

/// What traffic to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Another seed, other traffic.
    pub seed: u64,
    /// The first moment.
    pub start: Millis,
    /// How many days.
    pub days: u32,
    /// Benign keys of each archetype.
    pub keys_per_archetype: u32,
    /// Attacks of each kind, each on a key of its own beside the benign ones.
    pub attacks_per_kind: u32,
    /// Multiplies the rates of benign traffic (attacks keep theirs).
    pub rate: f64,
}

impl Plan {
    /// Three weeks with a few keys of each sort and a few attacks of each kind, from Monday 2026-03-02.
    pub const THREE_WEEKS: Self = Self {
        seed: 1,
        start: 1_772_409_600_000,
        days: 21,
        keys_per_archetype: 4,
        attacks_per_kind: 4,
        rate: 1.0,
    };

    /// The time that it covers.
    pub fn span(&self) -> Span {
        Span { from: self.start, to: self.start + Millis::from(self.days) * DAY }
    }
}

/// Makes the traffic of a plan, in order of time.
pub fn generate(plan: &Plan) -> impl Iterator<Item = Labelled> + use<> {
    let mut traffic = Traffic { span: plan.span(), rate: plan.rate, keys: 0, attacks: 0, all: Vec::new() };
    let root = Random::new(plan.seed);
    for archetype in archetypes::ALL {
        for index in 0..plan.keys_per_archetype {
            traffic.benign(&mut root.part(archetype.name, index.into()), archetype);
        }
    }
    for attack in attacks::ALL {
        for index in 0..plan.attacks_per_kind {
            traffic.attacked(&mut root.part(attack.name, index.into()), attack);
        }
    }
    traffic.all.sort_by_key(|labelled| labelled.time);
    traffic.all.into_iter().zip(1..).map(|(mut labelled, id)| {
        labelled.record.request_id = id;
        labelled
    })
}

/// Traffic in the making.
struct Traffic {
    span: Span,
    rate: f64,
    keys: u32,
    attacks: u32,
    all: Vec<Labelled>,
}

impl Traffic {
    fn benign(&mut self, random: &mut Random, archetype: &Archetype) {
        let life = (archetype.live)(random, self.span, self.rate);
        self.add(life.records, archetype.name, false, None);
        self.keys += 1;
    }

    fn attacked(&mut self, random: &mut Random, attack: &Attack) {
        let victims: Vec<&Archetype> =
            attack.victims.iter().filter_map(|name| archetypes::named(name)).collect();
        let Some(archetype) = random.pick(&victims).copied() else { return };
        let life = (archetype.live)(random, self.span, self.rate);
        let victim = Victim::new(life.persona, life.records, self.span);
        let strike = (attack.strike)(random, &victim);
        // Stuffing falls on nobody's key: the one whose service it calls stays benign.
        let attacked = strike.iter().any(|record| record.is_of(&victim.persona.key));
        self.add(victim.records, archetype.name, attacked, None);
        self.keys += u32::from(!attacked);
        self.add(strike, archetype.name, true, Some(attack.name));
        self.attacks += 1;
        self.keys += 1;
    }

    fn add(
        &mut self,
        records: Vec<WireRecord>,
        archetype: &'static str,
        attacked: bool,
        label: Option<&'static str>,
    ) {
        let span = self.span;
        let records = records.into_iter().filter(|record| span.contains(record.timestamp));
        self.all.extend(records.map(|record| Labelled {
            time: record.timestamp,
            record,
            label,
            attack_id: label.map(|_| self.attacks),
            archetype,
            key: self.keys,
            attacked,
        }));
    }
}
