//! What goes to the store about one request, and all that one atomic trip brings back.

use smallvec::SmallVec;

use super::{
    Millis,
    place::{PACKED_BYTES, PlaceCore, SPARE_BYTE},
    quota::{Lease, QuotaCharge, QuotaCount, QuotaRefusal},
    standing::Standing,
    subject::Subject,
    window::{Counts, Unit, WINDOW_COUNT, WindowLimits},
};

/// How a charge treats the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChargeMode {
    /// Charges every window if all admit, else none.
    #[default]
    Admit,
    /// Looks whether all windows would admit; changes nothing.
    Peek,
    /// Charges whatever the limits say (usage that has already happened, reported late by the insurance).
    Force,
}

/// The bit of a peer's id that says: where there is no room, this one leaves before those without the bit.
const LEAVES_FIRST: u64 = 1 << 63;

/// Tells client families apart in one byte: two are taken for one once in 255 times, which costs a remark at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientMark(u8);

impl ClientMark {
    /// The mark of a client family. The default is the mark of peers that were written without one.
    pub fn of(client: &str) -> Self {
        Self((super::stable_hash(client.as_bytes()) % 255) as u8 + 1)
    }
}

/// Somebody or something a subject was seen with: a place of a key, a failing key of an address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peer {
    /// Identity among the subject's peers.
    pub id: u64,
    /// What is kept of it: for a key the packed place, for an address zeroes.
    pub data: [u8; PACKED_BYTES],
}

impl Peer {
    /// A key's place as its peer, with the client that was used there. A place without coordinates leaves first: those
    /// that are nowhere must not push out those that are somewhere.
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
    /// Who was seen with the subject.
    pub peer: Peer,
    /// First seen, since it is among the recent ones.
    pub first_seen: Millis,
    /// When it was seen last, in milliseconds.
    pub last_seen: Millis,
    /// How many requests there were since `first_seen`.
    pub hits: u64,
}

/// Recent peers, most recent first; bounded by [`Charge::peer_capacity`].
pub type Peers = SmallVec<[PeerSeen; 4]>;

/// What one request charges to one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// Whose windows are charged.
    pub subject: Subject,
    /// When; the store never lets time run backwards for a subject.
    pub now: Millis,
    /// How much is charged, in each unit.
    pub counts: Counts,
    /// Limits in force (before any throttle).
    pub limits: WindowLimits,
    /// Whether limits may refuse it, and whether anything is written.
    pub mode: ChargeMode,
    /// Whom the subject was seen with, if anybody is noted.
    pub peer: Option<Peer>,
    /// How many recent peers are kept, 1 to 64. Where there is no room the one that was seen longest ago leaves, among
    /// those with [`Peer::leaves_first`] while there are any.
    pub peer_capacity: u8,
    /// Whether a subject that the store does not know yet may be created.
    pub may_create: bool,
    /// Whether a standing that was only observed counts: see [`Standing::counting`].
    pub observing: bool,
    /// What it charges beyond the subject's windows: all is charged, or none.
    pub quotas: Vec<QuotaCharge>,
    /// Keeps what is charged as a reservation.
    pub lease: Option<Lease>,
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
    /// Whether the windows took the charge (for [`ChargeMode::Peek`]: would take it). False when banned.
    pub admitted: bool,
    /// The limit that refused, when one did.
    pub refusal: Option<LimitRefusal>,
    /// The counter that refused, when one did: an index of [`Charge::quotas`].
    pub quota_refusal: Option<QuotaRefusal>,
    /// What each counter of [`Charge::quotas`] holds, this charge included if it was admitted.
    pub quotas: Vec<QuotaCount>,
    /// What each window holds, this charge included if it was admitted.
    pub counts: [Counts; WINDOW_COUNT],
    /// When the oldest usage of each window leaves it.
    pub resets_at: [Millis; WINDOW_COUNT],
    /// Recent peers as they were before this request.
    pub peers: Peers,
    /// Whether this charge made the subject known to the store.
    pub created: bool,
    /// False when the subject is unknown and may not be created: nothing was counted.
    pub tracked: bool,
}

impl Observation {
    /// An observation of a subject about which nothing is known, as of `now`.
    pub fn empty(now: Millis) -> Self {
        Self {
            now,
            standing: Standing::default(),
            admitted: true,
            refusal: None,
            quota_refusal: None,
            quotas: Vec::new(),
            counts: Default::default(),
            resets_at: [now; WINDOW_COUNT],
            peers: Peers::new(),
            created: false,
            tracked: false,
        }
    }
}
