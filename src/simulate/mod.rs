//! Labelled traffic: rightful holders of keys and attackers, for `keyward simulate`, `keyward demo` and the
//! scenario tests. The same plan gives the same traffic; nothing here reads a clock.
//!
//! Addresses come from the demo geo database, so its networks and places are known to the detectors.
//! `archetypes` are the benign keys and `attacks` what befalls some of them, one file each; `circumstances` make each
//! key differ from the next. `score` compares what was decided with the labels. `swap` makes thefts of recorded
//! traffic.

pub mod archetypes;
pub mod atlas;
pub mod attacks;
pub mod bundle;
pub mod calendar;
pub mod circumstances;
pub mod denials;
pub mod persona;
pub mod random;
pub mod score;
pub mod swap;
#[cfg(test)]
mod tests;
mod wire;

pub use wire::{Labelled, WireRecord};

use std::str::FromStr;

use archetypes::{Archetype, Life};
use attacks::{Attack, Victim};
use calendar::Span;
use circumstances::Circumstances;
use random::Random;

use crate::domain::{DAY, Millis};

/// Requests of a key in the whole run: a key of fewer is not worth a line. A victim's must be a few times as many, so
/// that there is something to know about it. Both are made before the last seventh of the run.
const LEAST_REQUESTS: usize = 20;
/// Share of the victims of the second exam that are of its own archetypes.
const SECOND_VICTIMS: f64 = 0.5;
/// Keys behind an address from where a stranger tries made-up ones, and keys in whose name one fails.
const OFFICE: &str = "behind_a_strangers_address";
const NAMED: &str = "named_by_a_stranger";
/// Lives drawn until one has as many.
const TRIES: u32 = 20;

/// Which families of keys and attacks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exam {
    /// Those that detection began with.
    #[default]
    First,
    /// Agents, functions, apps, migrations and other keys of which little can be said, beside the first; quieter
    /// thefts, and strangers who have others refused.
    Second,
}

impl FromStr for Exam {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "first" => Ok(Self::First),
            "second" => Ok(Self::Second),
            _ => Err("must be first or second"),
        }
    }
}

/// What traffic to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Another seed, other traffic.
    pub seed: u64,
    /// The families that it is made of.
    pub exam: Exam,
    /// The first moment of the traffic, in milliseconds.
    pub start: Millis,
    /// How many days the traffic lasts.
    pub days: u32,
    /// Benign keys of each archetype.
    pub keys_per_archetype: u32,
    /// Attacks of each kind, each on a key of its own beside the benign ones.
    pub attacks_per_kind: u32,
    /// Share of the keys that carry two or three archetypes at once, benign and attacked, 0 to 0.9.
    pub mixed: f64,
    /// Multiplies the rates of benign traffic (attacks keep theirs).
    pub rate: f64,
}

impl Plan {
    /// Three weeks with a few keys of each sort and a few attacks of each kind, from Monday 2026-03-02.
    pub const THREE_WEEKS: Self = Self {
        seed: 1,
        exam: Exam::First,
        start: 1_772_409_600_000,
        days: 21,
        keys_per_archetype: 4,
        attacks_per_kind: 4,
        mixed: 0.35,
        rate: 1.0,
    };

    /// The time that it covers.
    pub fn span(&self) -> Span {
        Span { from: self.start, to: self.start + Millis::from(self.days) * DAY }
    }

    /// Benign keys that carry two or three archetypes at once.
    pub fn mixed_keys(&self) -> u32 {
        let single = f64::from(self.keys_per_archetype) * self.archetypes().len() as f64;
        (single * self.mixed / (1.0 - self.mixed)).round() as u32
    }
}

impl Plan {
    /// The archetypes of its benign keys.
    pub fn archetypes(&self) -> &'static [Archetype] {
        match self.exam {
            Exam::First => archetypes::ALL,
            Exam::Second => archetypes::SECOND,
        }
    }

    /// The kinds of its attacks, those on several keys at once left out.
    pub fn attacks(&self) -> &'static [Attack] {
        match self.exam {
            Exam::First => attacks::ALL,
            Exam::Second => attacks::SECOND,
        }
    }
}

/// Makes the traffic of a plan, in order of time.
pub fn generate(plan: &Plan) -> impl Iterator<Item = Labelled> + use<> {
    let mut traffic = Traffic {
        span: plan.span(),
        rate: plan.rate,
        exam: plan.exam,
        mixed: plan.mixed,
        keys: 0,
        attacks: 0,
        all: Vec::new(),
    };
    let root = Random::new(plan.seed);
    for archetype in plan.archetypes() {
        for index in 0..plan.keys_per_archetype {
            traffic.benign(&mut root.part(archetype.name, index.into()), archetype);
        }
    }
    for (archetype, index) in archetypes::MIXED.iter().cycle().zip(0..plan.mixed_keys()) {
        traffic.benign(&mut root.part(archetype.name, index.into()), archetype);
    }
    for attack in plan.attacks() {
        for index in 0..plan.attacks_per_kind {
            traffic.attacked(&mut root.part(attack.name, index.into()), attack);
        }
    }
    if plan.exam == Exam::Second {
        for index in 0..plan.attacks_per_kind {
            bundle::add(&mut traffic, &mut root.part(bundle::NAME, index.into()));
            let seed = root.part("denials", index.into()).bits();
            traffic.scene(denials::office(seed, plan.start), OFFICE);
            traffic.scene(denials::in_a_name(seed, plan.start), NAMED);
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
    exam: Exam,
    span: Span,
    rate: f64,
    mixed: f64,
    keys: u32,
    attacks: u32,
    all: Vec<Labelled>,
}

impl Traffic {
    fn benign(&mut self, random: &mut Random, archetype: &Archetype) {
        let (life, circumstances) = self.live(random, archetype, LEAST_REQUESTS);
        let records = life.records.into_iter().map(|record| circumstances.tell(record));
        self.add(records, archetype.name, false, None);
        self.keys += 1;
    }

    fn attacked(&mut self, random: &mut Random, attack: &Attack) {
        let archetype = self.victim(random, attack);
        let (life, circumstances) = self.live(random, archetype, 4 * LEAST_REQUESTS);
        let mut victim = Victim::new(life.persona, life.records, self.span);
        victim.withhold(circumstances.tells_client, circumstances.tells_model);
        if random.chance(0.35) {
            victim.only_while_young();
        }
        let strike = (attack.strike)(random, &victim);
        // Stuffing falls on nobody's key: the one whose service it calls stays benign.
        let attacked = strike.iter().any(|record| record.is_of(&victim.persona.key));
        let own = victim.records.into_iter().map(|record| circumstances.tell(record));
        self.add(own, archetype.name, attacked, None);
        self.keys += u32::from(!attacked);
        let strike = strike.into_iter().map(|record| circumstances.tell(record));
        self.add(strike, archetype.name, true, Some(attack.name));
        self.attacks += 1;
        self.keys += 1;
    }

    /// Adds a scene of its own: rightful keys, of an archetype of this name, and a stranger.
    fn scene(&mut self, scene: Vec<Labelled>, archetype: &'static str) {
        let (first, attack) = (self.keys, self.attacks);
        for mut labelled in scene {
            labelled.key += first;
            self.keys = self.keys.max(labelled.key + 1);
            labelled.attack_id = labelled.label.map(|_| attack);
            labelled.archetype = archetype;
            self.all.push(labelled);
        }
        self.attacks += 1;
    }

    /// The sort of key that an attack falls on.
    fn victim(&self, random: &mut Random, attack: &Attack) -> &'static Archetype {
        let named: Vec<_> = attack.victims.iter().filter_map(|name| archetypes::named(name)).collect();
        let mixed = random.chance(self.mixed);
        let second = self.exam == Exam::Second && random.chance(SECOND_VICTIMS);
        let any = match (second, mixed) {
            (true, _) => {
                random.pick(archetypes::SECOND).filter(|archetype| !archetypes::is_loud(archetype.name))
            }
            (false, true) => random.pick(archetypes::MIXED),
            (false, false) => random.pick(archetypes::ALL),
        };
        random.pick(&named).copied().or(any).unwrap_or(&archetypes::ALL[0])
    }

    /// A life of an archetype with at least so many requests, and its circumstances.
    fn live(&self, random: &mut Random, archetype: &Archetype, least: usize) -> (Life, Circumstances) {
        let mut draw = || {
            let circumstances = Circumstances::draw(random, archetype);
            let span = circumstances.life(self.span);
            let mut life = (archetype.live)(random, span, self.rate * circumstances.rate);
            circumstances.befall(random, &mut life);
            (life, circumstances)
        };
        let mut drawn = draw();
        for _ in 1..TRIES {
            if self.suffices(&drawn.0, least) {
                break;
            }
            drawn = draw();
        }
        drawn
    }

    /// Whether a life has so many requests, the first of them early enough to be learned from.
    fn suffices(&self, life: &Life, least: usize) -> bool {
        let born = life.records.iter().map(|record| record.timestamp).min();
        life.records.len() >= least && born.is_some_and(|born| born <= self.span.to - self.span.length() / 7)
    }

    fn add(
        &mut self,
        records: impl Iterator<Item = WireRecord>,
        archetype: &'static str,
        attacked: bool,
        label: Option<&'static str>,
    ) {
        let span = self.span;
        let records = records.filter(|record| span.contains(record.timestamp));
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
