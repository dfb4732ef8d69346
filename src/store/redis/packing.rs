//! The packed form in which charges go to the observe script and observations come back.
//! The layout is described in `migrations/redis/0001_observe.lua`. Numbers are exact up to 2^53.

use smallvec::SmallVec;

use crate::{
    domain::{
        Millis,
        observation::{Charge, ChargeMode, Claim, LimitRefusal, Observation, Peer, PeerSeen, Peers},
        place::PACKED_BYTES,
        standing::{PACKED_NUMBERS, Standing},
        window::{Counts, Unit, WINDOW_COUNT, WINDOW_MILLIS, WindowLimits, bucket_expires_at},
    },
    store::{StoreError, StoreFault, redis::error::unreadable},
};

/// Bytes of a packed standing.
pub(super) const STANDING_BYTES: usize = PACKED_NUMBERS * 8;
const HEAD_NUMBERS: usize = 10;
const WINDOW_NUMBERS: usize = 11;
const PEER_BYTES: usize = 8 + 3 * 8 + PACKED_BYTES;
/// The largest whole number up to which all are exact in a double.
const EXACT: u64 = 1 << 53;
const ADMITTED: u8 = 1;
const CREATED: u8 = 2;
const TRACKED: u8 = 4;

/// Numbers as scripts take them: little-endian doubles, 8 bytes each.
pub(super) fn doubles(numbers: impl IntoIterator<Item = f64>) -> Vec<u8> {
    numbers.into_iter().flat_map(f64::to_le_bytes).collect()
}

/// Reads what [`doubles`] wrote.
pub(super) fn read_doubles(bytes: &[u8]) -> Vec<f64> {
    let (numbers, _) = bytes.as_chunks::<8>();
    numbers.iter().map(|number| f64::from_le_bytes(*number)).collect()
}

/// A value as JSON.
///
/// # Errors
/// [`StoreError::Refused`] when it has no form in JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    let unwritable = |error| StoreError::Refused(StoreFault::because("it cannot be written as JSON", error));
    serde_json::to_vec(value).map_err(unwritable)
}

/// Counts in the order in which scripts take them: requests, tokens, failed sign-ins, not found.
pub(super) fn counts(counts: &Counts) -> [f64; 4] {
    [counts.requests, counts.tokens, counts.auth_failures, counts.not_found].map(exact)
}

/// A standing as it is stored, [`STANDING_BYTES`] long.
pub(super) fn standing(standing: &Standing) -> Vec<u8> {
    doubles(standing.pack())
}

/// Reads a standing from the start of a state.
pub(super) fn read_standing(bytes: &[u8]) -> Result<Standing, StoreError> {
    let mut reader = Reader(bytes);
    reader.standing().ok_or_else(|| unreadable("a standing"))
}

/// The first argument of the observe script.
pub(super) fn charge(charge: &Charge) -> Vec<u8> {
    let limit = |limit: Option<u64>| limit.map_or(-1.0, exact);
    let mode = match charge.mode {
        ChargeMode::Admit => 0.0,
        ChargeMode::Peek => 1.0,
        ChargeMode::Report => 2.0,
    };
    let numbers = std::iter::once(charge.now as f64)
        .chain(counts(&charge.counts))
        .chain(charge.limits.tokens.map(limit))
        .chain(charge.limits.requests.map(limit))
        .chain([mode, f64::from(charge.peer_capacity.max(1))])
        .chain([charge.may_create, charge.observing].map(|flag| f64::from(u8::from(flag))));
    doubles(numbers)
}

/// The second argument of the observe script.
pub(super) fn peer(peer: Option<&Peer>) -> Vec<u8> {
    peer.map_or_else(Vec::new, |peer| [&peer.id.to_le_bytes()[..], &peer.data].concat())
}

/// Reads the reply to a charge.
pub(super) fn read_observation(reply: &[u8], charge: &Charge) -> Result<Observation, StoreError> {
    parse(reply, charge).ok_or_else(|| unreadable("the state of a subject"))
}

fn parse(reply: &[u8], charge: &Charge) -> Option<Observation> {
    let ([flags, refused, moved], rest) = reply.split_first_chunk::<3>()?;
    let mut reader = Reader(rest);
    let (now, retry) = (reader.millis()?, reader.millis()?);
    let [_, totals @ .., _, _, _, _, _] = reader.numbers::<HEAD_NUMBERS>()?;
    // The windows that moved come first, as they are now; then the state as it was.
    let moved_windows = reader.windows(usize::from(*moved).min(WINDOW_COUNT))?;
    let standing = reader.standing()?;
    let mut windows = reader.windows(WINDOW_COUNT)?;
    windows[WINDOW_COUNT - moved_windows.len()..].copy_from_slice(&moved_windows);
    windows.reverse();
    reader.numbers::<HEAD_NUMBERS>()?;
    let peers = reader.0.chunks_exact(PEER_BYTES).map(read_peer).collect::<Option<Peers>>()?;
    let read: [(Counts, Millis); WINDOW_COUNT] =
        std::array::from_fn(|w| read_window(windows[w], totals, WINDOW_MILLIS[w], now));
    let counts_as = standing.counting(charge.observing);
    let refusal =
        (*refused > 0).then(|| refusal(usize::from(*refused) - 1, retry, &charge.limits, &counts_as, now));
    Some(Observation {
        now,
        standing,
        admitted: flags & ADMITTED != 0,
        refusal: refusal.flatten(),
        counter_refusal: None,
        counters: Vec::new(),
        counts: read.map(|(counts, _)| counts),
        resets_at: read.map(|(_, resets_at)| resets_at),
        peers,
        created: flags & CREATED != 0,
        tracked: flags & TRACKED != 0,
        claim: Claim::Fresh,
        settled: None,
        lapsed: false,
        owed: Vec::new(),
        unfinished: false,
    })
}

/// The sum of a window and when the oldest in it leaves: from its numbers in the state and the totals.
fn read_window(
    numbers: [f64; WINDOW_NUMBERS],
    totals: [f64; 4],
    length: Millis,
    now: Millis,
) -> (Counts, Millis) {
    let [open_index, opened @ .., _, _, _, _, oldest, _kept] = numbers;
    let [_, _, _, _, _, left @ .., _, _] = numbers;
    let held = |which: usize| (totals[which] - left[which]) as u64;
    let sum = Counts { requests: held(0), tokens: held(1), auth_failures: held(2), not_found: held(3) };
    let resets_at = if oldest >= 0.0 {
        bucket_expires_at(length, oldest as i64)
    } else if opened == totals {
        now
    } else {
        bucket_expires_at(length, open_index as i64)
    };
    (sum, resets_at)
}

fn refusal(
    which: usize,
    retry: Millis,
    limits: &WindowLimits,
    standing: &Standing,
    now: Millis,
) -> Option<LimitRefusal> {
    let unit = if which < WINDOW_COUNT { Unit::Tokens } else { Unit::Requests };
    let window = which % WINDOW_COUNT;
    let share = standing.share_at(now);
    let limits = if share == 1000 { *limits } else { limits.at_share(share) };
    let limit = limits.of(window, unit)?;
    Some(LimitRefusal { window, unit, limit, retry_at: (retry >= 0).then_some(retry) })
}

fn read_peer(bytes: &[u8]) -> Option<PeerSeen> {
    let (id, rest) = bytes.split_first_chunk::<8>()?;
    let mut reader = Reader(rest);
    let (first_seen, last_seen, hits) = (reader.millis()?, reader.millis()?, reader.number()? as u64);
    let peer = Peer { id: u64::from_le_bytes(*id), data: reader.0.try_into().ok()? };
    Some(PeerSeen { peer, first_seen, last_seen, hits })
}

/// The number, as near as a double comes to it.
pub(super) fn exact(number: u64) -> f64 {
    number.min(EXACT) as f64
}

/// Takes numbers from the front of bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<f64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(f64::from_le_bytes(*number))
    }

    fn millis(&mut self) -> Option<Millis> {
        self.number().map(|n| n as Millis)
    }

    fn numbers<const N: usize>(&mut self) -> Option<[f64; N]> {
        let mut numbers = [0.0; N];
        for number in &mut numbers {
            *number = self.number()?;
        }
        Some(numbers)
    }

    /// The next `count` windows, longest first.
    fn windows(&mut self, count: usize) -> Option<SmallVec<[[f64; WINDOW_NUMBERS]; WINDOW_COUNT]>> {
        (0..count).map(|_| self.numbers()).collect()
    }

    fn standing(&mut self) -> Option<Standing> {
        self.numbers().map(|numbers| Standing::unpack(&numbers))
    }
}
