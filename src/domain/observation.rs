//! What goes to the store about one request, and all that one atomic trip brings back.

use smallvec::SmallVec;

use super::{
    Millis,
    counter::{CounterChange, CounterCharge, CounterCount, CounterRefusal},
    place::{PACKED_BYTES, PlaceCore, SPARE_BYTE},
    reservation::{Reservation, Settles, Stage},
    standing::Standing,
    subject::Subject,
    window::{Counts, Unit, WINDOW_COUNT, WindowLimits},
};

/// How a charge treats the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChargeMode {
    /// Charges every window and counter if all admit, else none.
    #[default]
    Admit,
    /// Looks whether all windows would admit; changes nothing.
    Peek,
    /// Charges whatever limits and bans say: it has been used. [`Observation::admitted`] says whether it fitted.
    Report,
}

/// The bit of a peer's id with which it leaves before peers without the bit, where there is no room.
const LEAVES_FIRST: u64 = 1 << 63;

/// Tells client families apart in one byte: two are taken for one once in 255 times, which costs a finding at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientMark(u8);

impl ClientMark {
    /// The mark of a client family. The default is the mark of peers that were written without one.
    pub fn of(client: &str) -> Self {
        Self((super::stable_hash(client.as_bytes()) % 255) as u8 + 1)
    }
}

/// What a subject was seen with: a place of a key, or a failing key of an address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peer {
    /// Identity among the subject's peers.
    pub id: u64,
    /// What is kept of it: for a key the packed place, for an address zeroes.
    pub data: [u8; PACKED_BYTES],
}

impl Peer {
    /// A key's place as its peer, with the client that was used there. A place without coordinates leaves first: it
    /// must not push out one that says something about distances.
    pub fn place(place: &PlaceCore, client: ClientMark) -> Self {
        let mut data = place.pack();
        data[SPARE_BYTE] = client.0;
        let leaves = if place.coordinates.is_none() { LEAVES_FIRST } else { 0 };
        Self { id: place.id() | leaves, data }
    }

    /// The client that was used last at a place; the default where none was written.
    pub fn client(&self) -> ClientMark {
        ClientMark(self.data[SPARE_BYTE])
    }

    /// A failing key as the peer of an address, and whether it succeeds elsewhere.
    pub fn key(key: &Subject, succeeds_elsewhere: bool) -> Self {
        let mut data = [0; PACKED_BYTES];
        data[0] = u8::from(succeeds_elsewhere);
        Self { id: Self::id_of_key(key), data }
    }

    /// Identity of a failing key among the peers of an address. 63 bits.
    pub fn id_of_key(key: &Subject) -> u64 {
        super::stable_hash(key.as_str().as_bytes()) >> 1
    }

    /// Of a failing key: whether it succeeds elsewhere.
    pub fn succeeds_elsewhere(&self) -> bool {
        self.data[0] != 0
    }

    /// Whether it leaves before others where there is no room.
    pub fn leaves_first(&self) -> bool {
        self.id & LEAVES_FIRST != 0
    }
}

/// A peer as the store remembers it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerSeen {
    /// The place or key that was seen.
    pub peer: Peer,
    /// When the peer was seen first, since it is among the recent ones.
    pub first_seen: Millis,
    /// When the peer was seen last.
    pub last_seen: Millis,
    /// Requests with it since `first_seen`.
    pub hits: u64,
}

/// Recent peers, most recent first; bounded by [`Charge::peer_capacity`].
pub type Peers = SmallVec<[PeerSeen; 4]>;

/// What one request charges to one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// The subject whose windows are charged.
    pub subject: Subject,
    /// When it is charged; the store never lets time run backwards for a subject.
    pub now: Millis,
    /// What is added to each window.
    pub counts: Counts,
    /// Limits in force (before any throttle).
    pub limits: WindowLimits,
    /// Whether limits are obeyed, and whether anything changes.
    pub mode: ChargeMode,
    /// The place of a key, or the failing key of an address, that it was seen with.
    pub peer: Option<Peer>,
    /// How many recent peers are kept, 1 to 64. Where there is no room the one that was seen longest ago leaves, among
    /// those with [`Peer::leaves_first`] while there are any.
    pub peer_capacity: u8,
    /// Whether a subject that the store does not know yet may be created.
    pub may_create: bool,
    /// Whether a standing that was only observed counts: see [`Standing::counting`].
    pub observing: bool,
    /// What it charges beyond the subject's windows: all is charged, or none.
    pub counters: Vec<CounterCharge>,
    /// What it does beside counting, in the same step.
    pub entry: Option<Box<LedgerEntry>>,
}

/// What makes a charge count once, and settles or keeps a reservation with it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LedgerEntry {
    /// Identity of the request: charged once within `idempotency.seconds`, however often and wherever it comes.
    pub claim: Option<u128>,
    /// Names the claim's maker, below 2^52 and never the same twice: when the same charge is sent again because no
    /// answer came, it finds the claim its own, and nothing is charged a second time. 0: it is sent once.
    pub attempt: u64,
    /// The reservation that it settles; the charge is a [`ChargeMode::Report`].
    pub settles: Option<Settles>,
    /// Keeps what is charged as a reservation.
    pub reserves: Option<Reservation>,
    /// The windows count it at this earlier moment: those whose span holds it.
    pub counted_at: Option<Millis>,
}

/// Who has a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Claim {
    /// Nobody had it, or this very charge when it was sent before: it is the caller's now.
    #[default]
    Fresh,
    /// Another caller has it, and has not finished.
    InFlight,
    /// It was answered with these bytes.
    Answered(Vec<u8>),
}

/// A refusal by a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitRefusal {
    /// Index of the window that refused (the one that takes longest to admit).
    pub window: usize,
    /// The unit whose limit refused.
    pub unit: Unit,
    /// The limit in force, throttle included.
    pub limit: u64,
    /// When the same charge would be admitted if nothing else came; `None`: it never fits.
    pub retry_at: Option<Millis>,
}

/// All that one atomic trip to the store returns about a subject at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The subject's time: the charge's, or later where the subject was already further.
    pub now: Millis,
    /// The standing as stored.
    pub standing: Standing,
    /// Whether the charge fits: windows and counters took it as an admission, or would. False when banned.
    pub admitted: bool,
    /// The limit that refused, when one did.
    pub refusal: Option<LimitRefusal>,
    /// The counter that refused, when one did: an index of [`Charge::counters`].
    pub counter_refusal: Option<CounterRefusal>,
    /// What each counter of [`Charge::counters`] holds, this charge included if it was admitted.
    pub counters: Vec<CounterCount>,
    /// What each window holds, this charge included if it was admitted.
    pub counts: [Counts; WINDOW_COUNT],
    /// When the oldest usage of each window leaves it.
    pub resets_at: [Millis; WINDOW_COUNT],
    /// Recent peers as they were before this request.
    pub peers: Peers,
    /// Whether this charge made the subject known to the store.
    pub created: bool,
    /// False when the subject is unknown and may not be created: its windows counted nothing.
    pub tracked: bool,
    /// Whether it was the first with its [`LedgerEntry::claim`]; if not, nothing was charged. Of a charge that was made
    /// when it was sent before, `settled` is what it settled then, and all else is as it is now.
    pub claim: Claim,
    /// The reservation that it settled, as it was before.
    pub settled: Option<Reservation>,
    /// The reservation that it names was given back before, or is about to be: nobody settled it in time.
    pub lapsed: bool,
    /// Changes of counters that belong to the charge and were not made: they are to be made later.
    pub owed: Vec<CounterChange>,
    /// What is owed may be made all the same, since a part of the store only did not answer. The charge has a name:
    /// sent again soon, it does each part once.
    pub unfinished: bool,
}

impl Charge {
    /// A charge of nothing to a subject, which is looked at and not created.
    pub fn look(subject: Subject, now: Millis) -> Self {
        Self {
            subject,
            now,
            counts: Counts::default(),
            limits: WindowLimits::default(),
            mode: ChargeMode::Peek,
            peer: None,
            peer_capacity: 1,
            may_create: false,
            observing: false,
            counters: Vec::new(),
            entry: None,
        }
    }

    /// The reservation that it settles.
    pub fn settles(&self) -> Option<&Settles> {
        self.entry.as_ref()?.settles.as_ref()
    }

    /// The reservation that it makes.
    pub fn reserves(&self) -> Option<&Reservation> {
        self.entry.as_ref()?.reserves.as_ref()
    }

    /// The earlier moment at which windows count it.
    pub fn counted_at(&self) -> Option<Millis> {
        self.entry.as_ref()?.counted_at
    }

    /// Identity of the request, where it has one.
    pub fn claim(&self) -> Option<u128> {
        self.entry.as_ref()?.claim
    }

    /// Who claims the request, where it is claimed: see [`LedgerEntry::attempt`].
    pub fn attempt(&self) -> u64 {
        self.entry.as_ref().map_or(0, |entry| entry.attempt)
    }
}

impl Observation {
    /// Whether it is of a record whose request was counted when it was seen on its way.
    pub fn completes(&self) -> bool {
        self.settled.as_ref().is_some_and(|settled| settled.stage == Stage::Observed)
    }

    /// The reservation whose estimate a charge left as it is, because its record does not say what was used.
    pub fn kept(&self, charge: &Charge) -> Option<&Reservation> {
        let settles = charge.settles()?;
        self.settled.as_ref().filter(|settled| settles.keeps(settled))
    }

    /// An observation of a subject about which nothing is known, as of `now`.
    pub fn empty(now: Millis) -> Self {
        Self {
            now,
            standing: Standing::default(),
            admitted: true,
            refusal: None,
            counter_refusal: None,
            counters: Vec::new(),
            counts: Default::default(),
            resets_at: [now; WINDOW_COUNT],
            peers: Peers::new(),
            created: false,
            tracked: false,
            claim: Claim::Fresh,
            settled: None,
            lapsed: false,
            owed: Vec::new(),
            unfinished: false,
        }
    }
}
