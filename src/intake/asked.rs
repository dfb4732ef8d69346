//! What a check asks beside what a record says.

/// What only a check says. It tells its digest from that of any record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) reserve: bool,
    /// As it was sent, seconds.
    pub(super) lease_seconds: Option<u64>,
    pub(super) dispatched: bool,
    /// Whether the request is counted when it is asked about.
    pub(super) observes: bool,
}

impl Asked {
    /// In a form that cannot be taken for another.
    pub(super) fn spelled(self) -> [u64; 5] {
        let lease = self.lease_seconds.map_or(0, |seconds| seconds.saturating_add(1));
        [u64::MAX, u64::from(self.reserve), lease, u64::from(self.dispatched), u64::from(self.observes)]
    }
}
