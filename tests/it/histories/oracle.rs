//! The oracle: what was used and what is held, by the rules in words. It knows no counter, no window and no script.

use keyward::domain::{DAY, HOUR, Millis, decision::Settlement};

/// What a request uses, or is expected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Used {
    pub requests: u64,
    pub tokens: u64,
    pub nanos: u64,
}

impl Used {
    pub(super) fn one(tokens: u64, nanos: u64) -> Self {
        Self { requests: 1, tokens, nanos }
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.tokens += other.tokens;
        self.nanos += other.nanos;
    }
}

/// How a reservation has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Settled,
    GivenBack,
    Lapsed,
    Charged,
    Corrected,
}

/// A reservation that was made.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub id: String,
    pub key: usize,
    pub estimate: Used,
    pub until: Millis,
    pub dispatched: bool,
    /// Every end that it had, in their order.
    pub ends: Vec<End>,
    /// A record that came after its end was told of it until the background forgot it.
    pub forgotten: bool,
}

/// What a change is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Done,
    Ended,
    Unknown,
}

impl Held {
    fn is_open(&self, now: Millis) -> bool {
        self.ends.is_empty() && self.until > now
    }

    /// What limits count of it.
    fn in_limits(&self, now: Millis) -> bool {
        match self.ends.last() {
            None => self.dispatched || self.until > now,
            Some(End::Charged) => true,
            Some(_) => false,
        }
    }

    fn in_windows(&self) -> bool {
        matches!(self.ends.last(), None | Some(End::Charged))
    }
}

/// All that happened.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub held: Vec<Held>,
    /// What records said, by key.
    used: [Used; super::run::KEYS],
    /// What records said, as usage has it: what was refused before it was made has used nothing.
    told: Used,
}

impl Oracle {
    /// What all limits of the project count: tokens and nano-dollars.
    pub(super) fn limits(&self, now: Millis) -> (u64, u64) {
        let mut all = Used::default();
        self.used.iter().for_each(|used| all.add(*used));
        self.held.iter().filter(|held| held.in_limits(now)).for_each(|held| all.add(held.estimate));
        (all.tokens, all.nanos)
    }

    /// What the windows of a key hold: requests and tokens.
    pub(super) fn windows(&self, key: usize) -> (u64, u64) {
        let mut all = self.used[key];
        let mine = self.held.iter().filter(|held| held.key == key && held.in_windows());
        mine.for_each(|held| all.add(held.estimate));
        (all.requests, all.tokens)
    }

    /// What usage sums up: all records, and every estimate that was charged and not corrected.
    pub(super) fn usage(&self) -> Used {
        let mut all = self.told;
        let charged = self.held.iter().filter(|held| held.ends.last() == Some(&End::Charged));
        charged.for_each(|held| all.add(held.estimate));
        all
    }

    pub(super) fn change(&self, which: usize, now: Millis) -> Change {
        let held = &self.held[which];
        match held.ends.last() {
            None if held.is_open(now) => Change::Done,
            None => Change::Ended,
            Some(End::Lapsed | End::Charged) if !held.forgotten => Change::Ended,
            Some(_) => Change::Unknown,
        }
    }

    /// A record that names a reservation: what it is answered with. `says` is what it used; `None`: it does not say.
    pub(super) fn settle(
        &mut self,
        which: usize,
        says: Option<Used>,
        refused: bool,
        now: Millis,
    ) -> Settlement {
        let held = &mut self.held[which];
        let corrects = held.dispatched && now < held.until + DAY;
        let settlement = match held.ends.last() {
            None if held.until > now => Settlement::Settled,
            None if corrects => Settlement::Corrected,
            Some(End::Charged) if corrects => Settlement::Corrected,
            None if !held.dispatched => Settlement::Expired,
            Some(End::Lapsed) if !held.forgotten => Settlement::Expired,
            _ => Settlement::Unknown,
        };
        let estimate = match settlement {
            Settlement::Settled => {
                held.ends.push(End::Settled);
                Some(held.estimate)
            }
            Settlement::Corrected => {
                if held.ends.is_empty() {
                    held.ends.push(End::Charged);
                }
                held.ends.push(End::Corrected);
                Some(held.estimate)
            }
            Settlement::Expired | Settlement::Unknown => None,
        };
        let key = held.key;
        let used = says.or(estimate).unwrap_or(Used::one(0, 0));
        self.record(key, if refused { None } else { Some(used) });
        settlement
    }

    /// A record: what it used, or `None` where Keyward refused the request.
    pub(super) fn record(&mut self, key: usize, used: Option<Used>) {
        let used = used.unwrap_or_default();
        self.used[key].add(used);
        self.told.add(used);
    }

    pub(super) fn give_back(&mut self, which: usize) {
        self.held[which].ends.push(End::GivenBack);
    }

    /// The background has ended all that is due.
    pub(super) fn end(&mut self, now: Millis) {
        for held in &mut self.held {
            match held.ends.last() {
                None if held.until <= now => {
                    held.ends.push(if held.dispatched { End::Charged } else { End::Lapsed });
                }
                Some(End::Lapsed) => held.forgotten |= held.until + HOUR <= now,
                Some(End::Charged) => held.forgotten |= held.until + DAY <= now,
                _ => {}
            }
        }
    }

    /// Whether each reservation has ended, once; a charge may have been corrected, once.
    pub(super) fn all_ended_once(&self) -> bool {
        let once = |held: &Held| {
            matches!(
                held.ends.as_slice(),
                [End::Settled | End::GivenBack | End::Lapsed | End::Charged] | [End::Charged, End::Corrected]
            )
        };
        self.held.iter().all(once)
    }
}
