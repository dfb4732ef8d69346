//! Which connections are open: how many there may be, of whom, and which is closed so that another fits.
//!
//! A client that opens connections and asks nothing must not keep others out. So an address has a cap of its own, and
//! when all is full, the one that has been idle for longest is closed, of the address that holds most of them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use metrics::{Counter, Gauge};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{self, Instant},
    domain::address::unfold,
};

/// Of all connections, no address may have more than this many of four.
const SHARE_OF_FOUR: usize = 3;

/// The connections that are open.
pub(super) struct Connections {
    inner: Mutex<Inner>,
    /// Told whenever one closes, or becomes idle.
    changed: Notify,
    most: usize,
    most_of_address: usize,
    began: Instant,
    held: Gauge,
    closed: Counter,
}

#[derive(Default)]
struct Inner {
    next: u64,
    open: HashMap<u64, Open>,
    of_address: HashMap<IpAddr, usize>,
}

struct Open {
    address: IpAddr,
    /// Requests whose answers are not sent.
    requests: Vec<Arc<Taking>>,
    idle_since: Instant,
    end: CancellationToken,
}

/// What becomes of a connection that was accepted.
pub(super) enum Admission {
    /// It may be served.
    Admitted(Slot),
    /// Its address has as many as it may have, and all are at work: it is closed.
    Refused,
    /// There is no room, and all are at work: it waits for a change.
    Full,
}

/// The room of one connection; free again when this is dropped.
pub(super) struct Slot {
    connections: Arc<Connections>,
    id: u64,
    /// Cancelled when the connection is to make room.
    pub(super) end: CancellationToken,
}

/// A request whose answer is not sent yet; over when this is dropped.
pub(super) struct Request {
    connections: Arc<Connections>,
    id: u64,
    taking: Arc<Taking>,
}

/// How the client takes an answer: since when a part of it waits, in ms from when the first connection could come; 0
/// while none does.
#[derive(Debug, Default)]
struct Taking {
    waits_since: AtomicU64,
}

impl Connections {
    /// Room for so many, of which an address may have so many; never so many that nobody else has room.
    pub(super) fn new(most: usize, most_of_address: usize) -> Arc<Self> {
        let share = (most * SHARE_OF_FOUR).div_ceil(4).max(1);
        Arc::new(Self {
            inner: Mutex::default(),
            changed: Notify::new(),
            most: most.max(1),
            most_of_address: most_of_address.clamp(1, share),
            began: clock::instant(),
            held: metrics::gauge!("keyward_connections"),
            closed: metrics::counter!("keyward_connections_closed_total"),
        })
    }

    /// Takes a connection in, for which an idle one may have to go. Without an address there is no cap of its own.
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Admission {
        let is_counted = address.is_some();
        let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), network);
        let mut inner = self.inner.lock();
        let of_address = inner.of_address.get(&address).copied().unwrap_or(0);
        if is_counted && self.most_of_address < self.most && of_address >= self.most_of_address {
            self.closed.increment(1);
            if !inner.close_idle(|open| open.address == address) {
                return Admission::Refused;
            }
        } else if inner.open.len() >= self.most {
            let Some(crowd) = inner.crowd() else { return Admission::Full };
            self.closed.increment(1);
            inner.close_idle(|open| open.address == crowd);
        }
        let slot = self.insert(&mut inner, address);
        self.held.set(inner.open.len() as f64);
        Admission::Admitted(slot)
    }

    fn insert(self: &Arc<Self>, inner: &mut Inner, address: IpAddr) -> Slot {
        let (id, end) = (inner.next, CancellationToken::new());
        inner.next += 1;
        *inner.of_address.entry(address).or_default() += 1;
        let open = Open { address, requests: Vec::new(), idle_since: clock::instant(), end: end.clone() };
        inner.open.insert(id, open);
        Slot { connections: self.clone(), id, end }
    }

    /// Closes connections whose client has taken nothing of any answer for so long.
    pub(super) fn close_stalled(&self, timeout: Duration) {
        let stalled_since =
            self.moment().saturating_sub(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let mut inner = self.inner.lock();
        let stalled = inner.open.iter().filter(|(_, open)| open.is_stalled(stalled_since));
        let stalled: Vec<u64> = stalled.map(|(id, _)| *id).collect();
        for open in stalled.into_iter().filter_map(|id| inner.remove(id)) {
            self.closed.increment(1);
            open.end.cancel();
        }
    }

    /// Milliseconds since the first connection could come, and one.
    fn moment(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Waits until a connection has closed or become idle, also if that was before this was called.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Open {
    /// Whether every answer that is not sent waits for the client, and has since then. Where one is still made, or
    /// another is taken, the client may be one that others share.
    fn is_stalled(&self, since: u64) -> bool {
        let stalls = |taking: &Arc<Taking>| (1..=since).contains(&taking.waits_since.load(Relaxed));
        !self.requests.is_empty() && self.requests.iter().all(stalls)
    }
}

impl Inner {
    /// The address that holds most of those connections that are idle.
    fn crowd(&self) -> Option<IpAddr> {
        let idle = self.open.values().filter(|open| open.requests.is_empty());
        idle.map(|open| open.address).max_by_key(|address| self.of_address.get(address))
    }

    /// Closes the one of them that has been idle for longest. Says whether any was.
    fn close_idle(&mut self, whose: impl Fn(&Open) -> bool) -> bool {
        let idle = self.open.iter().filter(|(_, open)| open.requests.is_empty() && whose(open));
        let Some(id) = idle.min_by_key(|(id, open)| (open.idle_since, **id)).map(|(id, _)| *id) else {
            return false;
        };
        if let Some(open) = self.remove(id) {
            open.end.cancel();
        }
        true
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        if let Some(count) = self.of_address.get_mut(&open.address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&open.address);
            }
        }
        Some(open)
    }
}

impl Slot {
    /// Notes a request: while its answer is on its way, the connection is not idle.
    pub(super) fn request(&self) -> Request {
        let taking = Arc::new(Taking::default());
        if let Some(open) = self.connections.inner.lock().open.get_mut(&self.id) {
            open.requests.push(taking.clone());
        }
        Request { connections: self.connections.clone(), id: self.id, taking }
    }
}

impl Request {
    /// Notes whether a part of the answer waits for the client to take it.
    pub(super) fn waits(&self, waits: bool) {
        self.taking.waits_since.store(if waits { self.connections.moment() } else { 0 }, Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.connections.inner.lock();
        inner.remove(self.id);
        self.connections.held.set(inner.open.len() as f64);
        drop(inner);
        self.connections.changed.notify_one();
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut inner = self.connections.inner.lock();
        let Some(open) = inner.open.get_mut(&self.id) else { return };
        open.requests.retain(|taking| !Arc::ptr_eq(taking, &self.taking));
        if open.requests.is_empty() {
            open.idle_since = clock::instant();
            drop(inner);
            self.connections.changed.notify_one();
        }
    }
}

/// Whom a connection is counted for: an IPv4 address, or the /64 of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match unfold(address) {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));

    fn admitted(connections: &Arc<Connections>, address: IpAddr) -> Slot {
        match connections.admit(Some(address)) {
            Admission::Admitted(slot) => slot,
            Admission::Refused => panic!("it was refused"),
            Admission::Full => panic!("it is to wait"),
        }
    }

    #[test]
    fn an_address_closes_its_own_idle_connections_and_nobody_elses() {
        let connections = Connections::new(8, 2);
        let theirs = admitted(&connections, OTHER);
        let (first, second) = (admitted(&connections, ONE), admitted(&connections, ONE));
        let third = admitted(&connections, ONE);
        assert!(first.end.is_cancelled() && !second.end.is_cancelled() && !theirs.end.is_cancelled());
        let at_work = [second.request(), third.request()];
        assert!(matches!(connections.admit(Some(ONE)), Admission::Refused));
        drop(at_work);
        assert!(matches!(connections.admit(Some(ONE)), Admission::Admitted(_)));
    }

    #[test]
    fn when_all_is_full_the_longest_idle_of_who_holds_most_makes_room_and_what_works_stays() {
        let connections = Connections::new(4, 4);
        let theirs = admitted(&connections, OTHER);
        let mine: Vec<Slot> = (0..3).map(|_| admitted(&connections, ONE)).collect();
        let at_work = mine[0].request();
        let last = admitted(&connections, OTHER);
        assert!(mine[1].end.is_cancelled() && !theirs.end.is_cancelled());
        let all: Vec<Request> = [&theirs, &mine[2], &last].into_iter().map(Slot::request).collect();
        assert!(matches!(connections.admit(Some(OTHER)), Admission::Full));
        drop((all, at_work));
        assert!(matches!(connections.admit(Some(OTHER)), Admission::Admitted(_)));
    }

    #[test]
    fn nobody_has_all_the_room_and_a_network_of_ipv6_is_one_address() {
        let connections = Connections::new(8, 100);
        let addresses = (0..8_u128).map(|n| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + n)));
        let slots: Vec<Slot> = addresses.map(|address| admitted(&connections, address)).collect();
        assert_eq!(slots.iter().filter(|slot| slot.end.is_cancelled()).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_which_every_answer_waits_for_too_long_is_closed_and_no_other() {
        const TIMEOUT: Duration = Duration::from_secs(30);
        let connections = Connections::new(8, 8);
        let slots: Vec<Slot> = (0..4).map(|_| admitted(&connections, ONE)).collect();
        let requests: Vec<Request> = slots.iter().map(Slot::request).collect();
        let shared = slots[1].request();
        // The third answer is still made, the fourth is taken late, and the second shares its connection.
        [0, 1, 3].iter().for_each(|n| requests[*n].waits(true));
        clock::sleep(TIMEOUT - Duration::from_secs(1)).await;
        requests[3].waits(true);
        connections.close_stalled(TIMEOUT);
        assert!(slots.iter().all(|slot| !slot.end.is_cancelled()));
        clock::sleep(Duration::from_secs(1)).await;
        connections.close_stalled(TIMEOUT);
        let closed: Vec<bool> = slots.iter().map(|slot| slot.end.is_cancelled()).collect();
        assert_eq!(closed, [true, false, false, false]);
        drop(shared);
        requests[3].waits(false);
        clock::sleep(TIMEOUT * 2).await;
        connections.close_stalled(TIMEOUT);
        let closed: Vec<bool> = slots.iter().map(|slot| slot.end.is_cancelled()).collect();
        assert_eq!(closed, [true, true, false, false]);
    }

    #[test]
    fn a_socket_in_the_file_system_has_no_cap_but_that_of_all() {
        let connections = Connections::new(8, 2);
        let held: Vec<Admission> = (0..8).map(|_| connections.admit(None)).collect();
        let open = |one: &Admission| matches!(one, Admission::Admitted(slot) if !slot.end.is_cancelled());
        assert!(held.iter().all(open));
        assert!(matches!(connections.admit(None), Admission::Admitted(_)));
        assert!(!held.iter().all(open));
    }

    #[test]
    fn what_was_closed_is_counted_once() {
        let connections = Connections::new(2, 2);
        for _ in 0..10 {
            drop(admitted(&connections, ONE));
        }
        let held: Vec<Slot> = (0..10).map(|_| admitted(&connections, ONE)).collect();
        drop(held);
        let inner = connections.inner.lock();
        assert!(inner.open.is_empty() && inner.of_address.is_empty());
    }
}
