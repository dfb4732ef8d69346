//! Counters of limits beyond the windows of a subject: their keys, and the scripts that charge them.
//!
//! On one server (and behind Sentinel) a charge of windows and counters is one script, whoever the counters belong to.
//! On a cluster a script reaches one slot: see [`super::spread`].

use std::borrow::Cow;

use redis::Value;
use serde::{Deserialize, Serialize};

use super::{
    RedisStore,
    claims::claim_of,
    error::{unreadable, unreadable_because},
    keys::by_partition,
    packing,
    scripts::{CHARGE, COUNTERS, Call},
};
use crate::{
    domain::{
        Millis,
        counter::{Counter, CounterCharge, CounterCount, CounterRefusal},
        limit::Scope,
        observation::{Charge, Observation},
        reservation::{HeldAmount, Reservation, Stage},
    },
    store::StoreError,
};

/// What the counters of a charge answered.
struct Counted {
    refusal: Option<CounterRefusal>,
    counts: Vec<CounterCount>,
}

impl RedisStore {
    /// The partition that the counters of a scope are in.
    pub(super) fn partition_of(&self, scope: &Scope) -> u16 {
        match scope {
            Scope::Subject(subject) => self.keys.partition(Some(subject)),
            Scope::Everything => self.keys.partition(None),
        }
    }

    pub(super) fn counter_key(&self, counter: &Counter) -> String {
        self.keys.counter(self.partition_of(&counter.scope), counter.scope.as_str(), counter.id)
    }

    /// The call that charges windows and counters, and makes the entry of the charge.
    pub(super) fn charge_call(&self, charge: &Charge) -> Result<Call, StoreError> {
        let keys = self.keys.subject(&charge.subject);
        let partition = self.keys.partition(Some(&charge.subject));
        let (id, content, until) = match charge.reserves() {
            None => (String::new(), Vec::new(), 0),
            Some(reservation) => {
                (reservation.id.to_string(), self.content_of(reservation, partition)?, reservation.until)
            }
        };
        let settles = charge.settles();
        let claim = charge.claim();
        let flag = |set: bool| f64::from(u8::from(set));
        let late = charge.counted_at().map_or(-1.0, |at| at as f64);
        let numbers = charge.counters.iter().flat_map(|counter| numbers(counter, None));
        Ok(Call::new(&CHARGE)
            .key(keys.state)
            .keys(keys.windows)
            .key(self.keys.reservations(partition))
            .key(self.keys.reservation_ends(partition))
            .key(self.keys.request_claim(&charge.subject, claim.unwrap_or_default()))
            .keys(charge.counters.iter().map(|counter| self.counter_key(&counter.counter)))
            .arg(packing::charge(charge))
            .arg(packing::peer(charge.peer.as_ref()))
            .arg(packing::doubles(numbers))
            .arg(id)
            .arg(content)
            .arg(until.to_string())
            .arg(settles.map_or("", |settles| &settles.id))
            .arg(charge.subject.id())
            .arg(packing::doubles([
                claim.map_or(0.0, |_| 1.0 + charge.attempt() as f64),
                flag(settles.is_some_and(|settles| settles.keeps_estimate)),
                late,
                self.options.retry_span as f64,
            ])))
    }

    /// A reservation as it is stored behind the moment of its charge, with the keys of its counters that are in its own
    /// slot.
    fn content_of(&self, reservation: &Reservation, partition: u16) -> Result<Vec<u8>, StoreError> {
        let key = |held: &HeldAmount| {
            let counter = held.counter()?;
            let here = !self.cluster || self.partition_of(&counter.scope) == partition;
            here.then(|| self.counter_key(&counter))
        };
        let keys = reservation.counters.iter().map(key).collect();
        let content = packing::json(&Stored { reservation: Cow::Borrowed(reservation), keys })?;
        let stage = match reservation.stage {
            Stage::Held => Vec::new(),
            stage => packing::doubles([f64::from(stage.number()), reservation.until as f64]),
        };
        Ok([stage, content].concat())
    }

    /// What the reply to [`RedisStore::charge_call`] says.
    pub(super) fn read_charged(&self, reply: &Value, charge: &Charge) -> Result<Observation, StoreError> {
        let Value::Array(parts) = reply else { return Err(unreadable("the reply to a charge")) };
        let [
            Value::BulkString(windows),
            Value::BulkString(counters),
            Value::BulkString(claim),
            Value::BulkString(settled),
        ] = parts.as_slice()
        else {
            return Err(unreadable("the reply to a charge"));
        };
        let counted = read_counts(counters)?;
        let observation = packing::read_observation(windows, charge)?;
        let (settled, lapsed) = match settled.as_slice() {
            b"" => (None, false),
            b"-" => (None, true),
            bytes => (Some(read_reservation(bytes)?), false),
        };
        let observation = Observation { settled, lapsed, ..with_counters(observation, counted, charge) };
        match made_before(claim, charge) {
            Some(b"") => Ok(observation),
            Some(settled) => Ok(Observation { settled: Some(read_reservation(settled)?), ..observation }),
            None => Ok(Observation { claim: claim_of(claim)?, ..observation }),
        }
    }

    /// Charges counters, those of one partition together: what each holds then, and whether its partition refused.
    /// `back` has what is given back of each, or nothing.
    pub(super) async fn count(
        &self,
        counters: &[CounterCharge],
        back: &[Option<(u64, Millis)>],
        now: Millis,
        asking: Asking,
    ) -> Result<Vec<(CounterCount, Option<CounterRefusal>)>, StoreError> {
        let placed = counters.iter().map(|counter| self.partition_of(&counter.counter.scope));
        let groups = by_partition(placed.zip(0..));
        let (asked, changes) = match asking {
            Asking::Look => (0.0, 0.0),
            Asking::Change => (0.0, 1.0),
            Asking::WouldFit => (1.0, 0.0),
            Asking::Charge => (1.0, 1.0),
        };
        let call = |group: &Vec<usize>| {
            let keys = group.iter().map(|index| self.counter_key(&counters[*index].counter));
            let back = |index: usize| back.get(index).copied().flatten();
            let numbers = group.iter().flat_map(|index| numbers(&counters[*index], back(*index)));
            let flags = packing::doubles([now as f64, asked, changes]);
            vec![Call::new(&COUNTERS).keys(keys).arg(flags).arg(packing::doubles(numbers))]
        };
        let calls: Vec<Vec<Call>> = groups.values().map(call).collect();
        let mut all = vec![(CounterCount::default(), None); counters.len()];
        if calls.is_empty() {
            return Ok(all);
        }
        let replies = self.link.call_all(&calls).await?;
        for (group, reply) in groups.values().zip(replies.into_iter().flatten()) {
            let bytes: Vec<u8> = self.read(reply)?;
            let counted = read_counts(&bytes)?;
            for (index, count) in group.iter().zip(counted.counts) {
                let refusal = counted.refusal.map(|r| CounterRefusal { index: group[r.index], ..r });
                all[*index] = (count, refusal);
            }
        }
        Ok(all)
    }
}

/// Whether a claim was made by this very charge, which was sent before; with the reservation that it settled then, if
/// it kept the estimate.
fn made_before<'a>(claim: &'a [u8], charge: &Charge) -> Option<&'a [u8]> {
    let (maker, settled) = claim.strip_prefix(b"?")?.split_first_chunk::<8>()?;
    let is_own = charge.attempt() > 0 && f64::from_le_bytes(*maker) == 1.0 + charge.attempt() as f64;
    is_own.then_some(settled)
}

/// What is done with counters that are named to [`RedisStore::count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// Nothing changes.
    Look,
    /// They change, whatever their limits.
    Change,
    /// Nothing is charged; limits are asked, and their blocks begin.
    WouldFit,
    /// Those of a partition change together, if all their limits admit it; else their blocks begin.
    Charge,
}

/// A reservation, and the keys of its counters.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(flatten)]
    reservation: Cow<'a, Reservation>,
    /// In the order of its counters; `null`: in another slot.
    keys: Vec<Option<String>>,
}

/// Reads what the hash of reservations holds of one: the moment of its charge, its stage and end once it is not as it
/// was made, and its content.
pub(super) fn read_reservation(bytes: &[u8]) -> Result<Reservation, StoreError> {
    let wrong = || unreadable("a reservation");
    let (charged_at, rest) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
    let (moved, content) = if rest.starts_with(b"{") {
        (None, rest)
    } else {
        let (numbers, content) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
        let numbers = packing::read_doubles(numbers);
        let [stage, until] = numbers.as_slice() else { return Err(wrong()) };
        (Some((Stage::of_number(*stage as u8).ok_or_else(wrong)?, *until as Millis)), content)
    };
    let stored: Stored<'_> = serde_json::from_slice(content).map_err(unreadable_because("a reservation"))?;
    let charged_at = f64::from_le_bytes(*charged_at) as Millis;
    let reservation = Reservation { charged_at, ..stored.reservation.into_owned() };
    let (stage, until) = moved.unwrap_or((Stage::Held, reservation.until));
    Ok(reservation.at(stage, until))
}

/// A charge of a counter, as `parts/counters.lua` reads it.
pub(super) fn numbers(charge: &CounterCharge, back: Option<(u64, Millis)>) -> [f64; 5] {
    // What is given back, or how long a block is: never both.
    let (amount, until) = back.unwrap_or((0, charge.block.unwrap_or(0)));
    let exact = packing::exact;
    // What may hold any amount may hold more than a double counts exactly.
    let most = if charge.most == u64::MAX { f64::INFINITY } else { exact(charge.most) };
    [exact(charge.amount), most, charge.until as f64, exact(amount), until as f64]
}

fn with_counters(observation: Observation, counted: Counted, charge: &Charge) -> Observation {
    let refused = counted.refusal.is_some();
    Observation {
        admitted: observation.admitted && !refused,
        // Where a counter refused, the windows were only looked at.
        tracked: observation.tracked || refused && charge.may_create,
        counter_refusal: counted.refusal,
        counters: counted.counts,
        ..observation
    }
}

fn read_counts(bytes: &[u8]) -> Result<Counted, StoreError> {
    let numbers = packing::read_doubles(bytes);
    let [refused, retry, rest @ ..] = numbers.as_slice() else { return Err(unreadable("counters")) };
    let moment = |at: f64| (at >= 0.0).then_some(at as Millis);
    let refusal =
        (*refused >= 1.0).then(|| CounterRefusal { index: *refused as usize - 1, retry_at: moment(*retry) });
    let count = |pair: &[f64; 2]| CounterCount { used: pair[0].max(0.0) as u64, resets_at: moment(pair[1]) };
    Ok(Counted { refusal, counts: rest.as_chunks().0.iter().map(count).collect() })
}
