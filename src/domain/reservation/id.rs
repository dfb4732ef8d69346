//! Ids of reservations: each says in which slot of a store its reservation is, so that it is found without its key.

use std::{fmt, sync::Arc};

use crate::domain::{stable_hash, subject::Subject};

/// `rsv_<unique>_<key>`: 128 bits that no other reservation has, and the stable hash of its key as a subject, both in
/// hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReservationId(Arc<str>);

impl ReservationId {
    /// The id of a reservation of a key.
    pub fn new(key: &Subject, unique: u128) -> Self {
        Self(format!("rsv_{unique:032x}_{:016x}", stable_hash(key.as_str().as_bytes())).into())
    }

    /// The id of a request that was counted when it was seen on its way: its record finds it by key and id.
    pub fn of_observation(key: &Subject, request_id: &str) -> Self {
        let half = |salt: &str| u128::from(stable_hash(format!("{salt} {request_id}").as_bytes()));
        Self::new(key, (half("observed") << 64) | half("request"))
    }

    /// Reads an id; `None` for anything that [`ReservationId::new`] does not make.
    pub fn parse(text: &str) -> Option<Self> {
        let (unique, key) = text.strip_prefix("rsv_")?.split_once('_')?;
        let is_hex = |part: &str, digits: usize| {
            part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        (is_hex(unique, 32) && is_hex(key, 16)).then(|| Self(text.into()))
    }

    /// Whether it was made for a key.
    pub fn is_of(&self, key: &Subject) -> bool {
        self.hash() == Some(stable_hash(key.as_str().as_bytes()))
    }

    /// Which of `partitions` its key is in ([`Subject::partition`]).
    pub fn partition(&self, partitions: u16) -> u16 {
        (self.hash().unwrap_or_default() % u64::from(partitions.max(1))) as u16
    }

    /// `rsv_`, 32 hexadecimal digits, `_`, 16 hexadecimal digits of the hash of its key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> Option<u64> {
        u64::from_str_radix(self.0.rsplit_once('_')?.1, 16).ok()
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_the_slot_of_its_key_and_anything_else_is_none() {
        for name in ["a", "k1:9f2c41d07be5a8c3", "acme"] {
            let key = Subject::key(name);
            let id = ReservationId::new(&key, u128::MAX / 3);
            assert_eq!(ReservationId::parse(id.as_str()), Some(id.clone()));
            assert!(id.is_of(&key) && !id.is_of(&Subject::key("other")));
            for partitions in [1, 2, 7, 64] {
                assert_eq!(id.partition(partitions), key.partition(partitions));
            }
        }
        let observed = |key: &str, id: &str| ReservationId::of_observation(&Subject::key(key), id);
        assert_eq!(observed("a", "r-1"), observed("a", "r-1"));
        assert!(observed("a", "r-1") != observed("a", "r-2") && observed("a", "r-1") != observed("b", "r-1"));
        assert!(ReservationId::parse(observed("a", "r-1").as_str()).is_some());
        let good = ReservationId::new(&Subject::key("a"), 1).to_string();
        let bad = [
            "",
            "#",
            "rsv_",
            "rsv__",
            &good[1..],
            &good[..good.len() - 1],
            &good.to_uppercase(),
            &format!("{good}0"),
            &format!(" {good}"),
            &good.replace("rsv_0", "rsv_+"),
            "rsv_0123456789abcdef0123456789abcdef_5be1c0de",
        ];
        for text in bad {
            assert_eq!(ReservationId::parse(text), None, "{text}");
        }
    }
}
