//! Every ban in force, in memory: a banned subject is answered without the store, and stays banned while the store
//! does not answer. Fed by this instance's own acts and by the event log of all instances.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use ipnet::IpNet;
use parking_lot::RwLock;

use crate::domain::{
    Millis,
    record::Record,
    standing::Standing,
    subject::{Subject, SubjectKind},
};

#[derive(Debug, Default)]
struct Held {
    exact: HashMap<Subject, Standing>,
    /// Address bans on prefixes other than single IPv4 addresses and /64s, which operators make; few.
    networks: Vec<(IpNet, Subject)>,
}

/// The bans in force.
#[derive(Debug, Default)]
pub(super) struct BanIndex {
    held: RwLock<Held>,
    /// Counts up whenever one is held or let go.
    changes: AtomicU64,
}

impl BanIndex {
    /// Takes over a standing: a ban is held, anything else is let go.
    pub(super) fn set(&self, subject: &Subject, standing: &Standing, now: Millis) {
        let mut held = self.held.write();
        let newer = held.exact.get(subject).is_none_or(|known| known.version <= standing.version);
        if !newer {
            return;
        }
        self.changes.fetch_add(1, Relaxed);
        if standing.is_banned_at(now) {
            let fresh = held.exact.insert(subject.clone(), *standing).is_none();
            if let Some(network) = subject.network().filter(|n| fresh && is_wide(n)) {
                held.networks.push((network, subject.clone()));
            }
        } else {
            remove(&mut held, subject);
        }
    }

    /// The version of the ban held on a subject.
    pub(super) fn version(&self, subject: &Subject) -> Option<u64> {
        self.held.read().exact.get(subject).map(|standing| standing.version)
    }

    /// Takes over what the store holds now, whatever its version, unless the ban held is no longer the one of version
    /// `held`, as it was before the store was asked: then somebody was quicker. A store that lost its data counts
    /// versions anew, so the higher one is not always the later one.
    pub(super) fn replace(&self, subject: &Subject, held: Option<u64>, stored: &Standing, now: Millis) {
        let mut inner = self.held.write();
        if inner.exact.get(subject).map(|standing| standing.version) == held {
            remove(&mut inner, subject);
            drop(inner);
            self.changes.fetch_add(1, Relaxed);
            self.set(subject, stored, now);
        }
    }

    /// Takes over what the store holds, but keeps bans in force that it does not know, or knows in an earlier version
    /// only: those, it has lost. Returns them.
    pub(super) fn reload(&self, stored: &[(Subject, Standing)], now: Millis) -> Vec<(Subject, Standing)> {
        let known: HashMap<&Subject, u64> =
            stored.iter().map(|(subject, standing)| (subject, standing.version)).collect();
        let lost = {
            let held = self.held.read();
            let is_lost = |s: &Subject, b: &Standing| known.get(s).is_none_or(|version| *version < b.version);
            let lost = held.exact.iter().filter(|(s, b)| b.is_banned_at(now) && is_lost(s, b));
            lost.map(|(s, b)| (s.clone(), *b)).collect()
        };
        for (subject, standing) in stored {
            self.set(subject, standing, now);
        }
        lost
    }

    /// Lets a subject go, whatever its version.
    pub(super) fn forget(&self, subject: &Subject) {
        self.changes.fetch_add(1, Relaxed);
        remove(&mut self.held.write(), subject);
    }

    /// Drops what has run out.
    pub(super) fn prune(&self, now: Millis) {
        let mut held = self.held.write();
        let before = held.exact.len();
        held.exact.retain(|_, standing| standing.is_banned_at(now));
        self.changes.fetch_add((before - held.exact.len()) as u64, Relaxed);
        let Held { exact, networks } = &mut *held;
        networks.retain(|(_, subject)| exact.contains_key(subject));
    }

    /// The ban that refuses a request: on its key (under any pepper), its address or its project. One that was only
    /// observed does so while `observing` alone. One on its address does not, if its key is `spared` from that.
    pub(super) fn find(
        &self,
        record: &Record,
        now: Millis,
        observing: bool,
        spared: impl Fn(&Subject, &Standing) -> bool,
    ) -> Option<(Subject, Standing)> {
        let held = self.held.read();
        if held.exact.is_empty() {
            return None;
        }
        let in_force = |subject: &Subject| {
            let held = held.exact.get(subject).filter(|s| s.counting(observing).is_banned_at(now));
            held.map(|s| (subject.clone(), *s))
        };
        in_force(&record.key)
            .or_else(|| record.former_keys.iter().find_map(in_force))
            .or_else(|| in_force(&record.address).filter(|(subject, ban)| !spared(subject, ban)))
            .or_else(|| covering(&held, record.source_ip).find_map(in_force))
            .or_else(|| record.project.as_ref().and_then(in_force))
    }

    /// The ban on one subject, if it is in force.
    pub(super) fn get(&self, subject: &Subject, now: Millis) -> Option<Standing> {
        self.held.read().exact.get(subject).filter(|s| s.is_banned_at(now)).copied()
    }

    /// The ban on an address, or on a network around it.
    pub(super) fn on_address(&self, address: IpAddr, now: Millis) -> Option<Standing> {
        let held = self.held.read();
        let in_force = |subject: &Subject| {
            held.exact.get(subject).filter(|s| s.counting(false).is_banned_at(now)).copied()
        };
        in_force(&Subject::ip(address)).or_else(|| covering(&held, address).find_map(in_force))
    }

    /// The banned prefix that covers an address or a smaller prefix, other than itself.
    pub(super) fn covering(&self, subject: &Subject, now: Millis) -> Option<Subject> {
        let network = subject.network()?;
        let held = self.held.read();
        let wider = held.networks.iter().filter(|(n, s)| s != subject && n.contains(&network));
        let in_force = |s: &Subject| held.exact.get(s).is_some_and(|b| b.is_banned_at(now));
        wider.map(|(_, s)| s).find(|s| in_force(s)).cloned()
    }

    /// A number that is another one whenever anything changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// All that are held, or so many of them.
    pub(super) fn some(&self, most: usize) -> Vec<(Subject, Standing)> {
        self.held.read().exact.iter().take(most).map(|(subject, ban)| (subject.clone(), *ban)).collect()
    }

    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.held.read().exact.len()
    }
}

fn remove(held: &mut Held, subject: &Subject) {
    held.exact.remove(subject);
    held.networks.retain(|(_, s)| s != subject);
}

fn covering(held: &Held, address: IpAddr) -> impl Iterator<Item = &Subject> {
    let around = held.networks.iter().filter(move |(network, _)| network.contains(&address));
    around.map(|(_, subject)| subject)
}

fn is_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(v4) => v4.prefix_len() < 32,
        IpNet::V6(v6) => v6.prefix_len() != 64,
    }
}

/// Why a ban on this kind of subject refuses.
pub(super) fn reason(subject: &Subject) -> crate::domain::decision::Reason {
    use crate::domain::decision::Reason;
    match subject.kind() {
        SubjectKind::Key => Reason::ApiKeyBanned,
        SubjectKind::Ip => Reason::IpBanned,
        SubjectKind::Project => Reason::ProjectBanned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ladder::operator_ban, standing::Standing};
    use crate::intake::{Intake, Peppers, parse};
    use crate::pricing::flat_example;

    fn record() -> Record {
        let peppers = Peppers::parse("k2:0123456789abcdef0123,k1:fedcba98765432100123").unwrap();
        let json = br#"{"api_key":"secret","project_id":"p","endpoint":"/x","source_ip":"203.0.113.7"}"#;
        Intake::live(peppers, flat_example(), 1).record(parse(json).unwrap(), 0).unwrap()
    }

    fn banned(length: Option<Millis>) -> Standing {
        operator_ban(&Standing::default(), length, 0)
    }

    #[test]
    fn a_request_is_refused_by_its_key_its_former_ids_its_address_its_network_or_its_project() {
        let record = record();
        let former = record.former_keys[0].clone();
        let network = Subject::parse("ip:203.0.113.0/24").unwrap();
        for subject in [record.key.clone(), former, record.address.clone(), network, Subject::project("p")] {
            let index = BanIndex::default();
            index.set(&subject, &banned(Some(10)), 0);
            assert_eq!(index.find(&record, 9, false, |_, _| false).map(|(s, _)| s), Some(subject.clone()));
            assert_eq!(index.find(&record, 10, false, |_, _| false), None);
            index.set(&subject, &Standing { version: 2, ..Standing::default() }, 0);
            assert_eq!(index.find(&record, 5, false, |_, _| false), None);
            assert_eq!(index.len(), 0);
        }
    }

    #[test]
    fn a_ban_that_was_only_observed_hides_none_that_is_enforced() {
        let (record, index) = (record(), BanIndex::default());
        index.set(&record.key, &Standing { unenforced: true, ..banned(None) }, 0);
        assert_eq!(index.find(&record, 1, true, |_, _| false).map(|(s, _)| s), Some(record.key.clone()));
        assert_eq!(index.find(&record, 1, false, |_, _| false), None);
        index.set(&record.address, &banned(None), 0);
        assert_eq!(index.find(&record, 1, false, |_, _| false).map(|(s, _)| s), Some(record.address.clone()));
    }

    #[test]
    fn an_older_version_does_not_undo_a_newer_one() {
        let index = BanIndex::default();
        let subject = Subject::key("a");
        index.set(&subject, &Standing { version: 5, ..banned(None) }, 0);
        index.set(&subject, &Standing { version: 4, ..Standing::default() }, 0);
        assert!(index.get(&subject, 0).is_some());
    }

    #[test]
    fn what_the_store_holds_now_replaces_what_was_held_when_it_was_asked() {
        let index = BanIndex::default();
        let subject = Subject::key("a");
        index.set(&subject, &Standing { version: 5, ..banned(None) }, 0);
        let cleared = Standing { version: 2, ..Standing::default() };
        index.replace(&subject, Some(4), &cleared, 0);
        assert!(index.get(&subject, 0).is_some(), "somebody was quicker");
        index.replace(&subject, index.version(&subject), &cleared, 0);
        assert_eq!(index.get(&subject, 0), None);
    }

    #[test]
    fn bans_that_the_store_lost_are_kept_and_returned() {
        let index = BanIndex::default();
        index.set(&Subject::key("kept"), &banned(None), 0);
        index.set(&Subject::key("over"), &banned(Some(5)), 0);
        index.set(&Subject::key("ahead"), &Standing { version: 7, ..banned(None) }, 0);
        let stored = ["new", "ahead"].map(|key| (Subject::key(key), banned(None)));
        let mut lost: Vec<_> = index.reload(&stored, 6).into_iter().map(|(s, _)| s).collect();
        lost.sort();
        assert_eq!(lost, [Subject::key("ahead"), Subject::key("kept")]);
        assert!(index.get(&Subject::key("new"), 6).is_some());
    }
}
