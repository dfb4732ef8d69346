//! What was used and what it cost, summed over minutes, hours and days by project, model and key.
//!
//! Every sum is of whole numbers and stops at the largest one, so that merging is a commutative monoid: instances sum
//! apart, stores add in any order, and the result is that of adding record by record.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    DAY, HOUR, MINUTE, Millis,
    price::{Tokens, Told},
    record::{Outcome, Record},
};

/// The name under which series beyond the cap are summed.
pub const OTHER: &str = "(other)";
/// How many numbers [`Totals`] has.
const FIELDS: usize = 9;
/// Bytes of packed [`Totals`].
pub const TOTALS_BYTES: usize = FIELDS * 8;

/// What a series used in a bucket, or any sum of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// How many records there were.
    pub requests: u64,
    /// Of them, those that Keyward refused.
    pub refused: u64,
    /// Of them, those that a client's fault made fail (4xx).
    pub client_errors: u64,
    /// Of them, those that the provider's fault made fail (5xx).
    pub server_errors: u64,
    /// Tokens of prompts, those from a cache included.
    pub input_tokens: u64,
    /// Of them, those from a cache.
    pub cached_tokens: u64,
    /// Tokens of answers, as prices count them.
    pub output_tokens: u64,
    /// Tokens as the limits count them.
    pub tokens: u64,
    /// The cost in whole nano-dollars.
    pub cost_nanos: u64,
}

impl Totals {
    /// What one record used.
    pub fn of(record: &Record, refused: bool) -> Self {
        let told = Told {
            used: Some(record.tokens),
            prompt: record.prompt_tokens,
            completion: record.completion_tokens,
            cached: record.cached_tokens,
            ..Told::default()
        };
        let tokens = Tokens::of(told).unwrap_or_default();
        let (client, server) = match record.outcome() {
            Outcome::Success => (0, 0),
            Outcome::ServerError => (0, 1),
            Outcome::AuthFailure | Outcome::NotFound | Outcome::Throttled | Outcome::ClientError => (1, 0),
        };
        Self {
            requests: 1,
            refused: u64::from(refused || record.refused_by_keyward),
            client_errors: client,
            server_errors: server,
            input_tokens: tokens.prompt(),
            cached_tokens: tokens.cached_input,
            output_tokens: tokens.completion(),
            tokens: record.tokens,
            cost_nanos: record.cost_nanos.unwrap_or(0),
        }
    }

    /// Adds other totals, number by number.
    pub fn merge(&mut self, other: &Self) {
        let (mut mine, others) = (self.numbers(), other.numbers());
        for (mine, other) in mine.iter_mut().zip(others) {
            *mine = mine.saturating_add(other);
        }
        *self = Self::from_numbers(mine);
    }

    /// As bytes: the numbers in the order of the fields, little-endian.
    pub fn pack(&self) -> [u8; TOTALS_BYTES] {
        let mut bytes = [0; TOTALS_BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip(self.numbers()) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Totals::pack`] wrote; `None` for anything else.
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TOTALS_BYTES] = bytes.try_into().ok()?;
        let mut numbers = [0; FIELDS];
        for (number, part) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(part.try_into().ok()?);
        }
        Some(Self::from_numbers(numbers))
    }

    fn numbers(&self) -> [u64; FIELDS] {
        [
            self.requests,
            self.refused,
            self.client_errors,
            self.server_errors,
            self.input_tokens,
            self.cached_tokens,
            self.output_tokens,
            self.tokens,
            self.cost_nanos,
        ]
    }

    fn from_numbers(numbers: [u64; FIELDS]) -> Self {
        let [
            requests,
            refused,
            client_errors,
            server_errors,
            input_tokens,
            cached_tokens,
            output_tokens,
            tokens,
            cost_nanos,
        ] = numbers;
        Self {
            requests,
            refused,
            client_errors,
            server_errors,
            input_tokens,
            cached_tokens,
            output_tokens,
            tokens,
            cost_nanos,
        }
    }
}

/// Whose usage: a series. What is `None` was not named, or is not told apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UsageKey {
    /// The project that records named, if any.
    pub project: Option<Arc<str>>,
    /// The model that records named, if any.
    pub model: Option<Arc<str>>,
    /// Public id of the API key.
    pub key: Option<Arc<str>>,
}

impl UsageKey {
    /// As text, the same for the same series in every store: a JSON array.
    pub fn encode(&self) -> String {
        serde_json::json!([self.project, self.model, self.key]).to_string()
    }

    /// Reads what [`UsageKey::encode`] wrote; `None` for anything else.
    pub fn decode(text: &[u8]) -> Option<Self> {
        let (project, model, key) = serde_json::from_slice(text).ok()?;
        Some(Self { project, model, key })
    }
}

/// A span over which usage is summed, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bucket {
    /// A full minute of UTC.
    Minute,
    /// An hour of UTC.
    Hour,
    /// A day of UTC.
    Day,
}

impl Bucket {
    /// Every bucket, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// How long it is.
    pub fn millis(self) -> Millis {
        match self {
            Self::Minute => MINUTE,
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    /// The start of the one that a moment is in.
    pub fn start(self, at: Millis) -> Millis {
        at.div_euclid(self.millis()).saturating_mul(self.millis())
    }

    /// The name of it in questions and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// The one with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bucket| bucket.name() == name)
    }
}

/// How finely a roll-up tells series apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detail {
    /// By project, model and key.
    Series,
    /// By project alone: few, so that sums and forecasts over weeks are read quickly.
    Projects,
}

impl Detail {
    /// Every kind of roll-up.
    pub const ALL: [Self; 2] = [Self::Series, Self::Projects];

    fn of(self, key: &UsageKey) -> UsageKey {
        match self {
            Self::Series => key.clone(),
            Self::Projects => UsageKey { project: key.project.clone(), ..UsageKey::default() },
        }
    }
}

/// One roll-up: what a store keeps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// How long it is.
    pub bucket: Bucket,
    /// How finely it tells apart.
    pub detail: Detail,
    /// When its bucket starts, in milliseconds.
    pub start: Millis,
}

/// How long roll-ups are kept after they end, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// For how many days minutes are kept.
    pub minute_days: u32,
    /// For how many days hours are kept.
    pub hour_days: u32,
    /// For how many days days are kept.
    pub day_days: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { minute_days: 2, hour_days: 35, day_days: 400 }
    }
}

impl Keep {
    fn millis(self, bucket: Bucket) -> Millis {
        let days = match bucket {
            Bucket::Minute => self.minute_days,
            Bucket::Hour => self.hour_days,
            Bucket::Day => self.day_days,
        };
        Millis::from(days) * DAY
    }

    /// The first start of a bucket that is still kept at `now`.
    pub fn first(self, bucket: Bucket, now: Millis) -> Millis {
        bucket.start(now.saturating_sub(self.millis(bucket)))
    }

    /// How long after `now` a roll-up is still kept, in milliseconds; 0: it is gone.
    pub fn left(self, bucket: Bucket, start: Millis, now: Millis) -> Millis {
        let gone = start.saturating_add(bucket.millis()).saturating_add(self.millis(bucket));
        gone.saturating_sub(now).max(0)
    }
}

/// What a series used in a minute, to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageDelta {
    /// The start of the minute.
    pub minute: Millis,
    /// The series that it belongs to.
    pub key: UsageKey,
    /// How much is added to it.
    pub totals: Totals,
}

/// Deltas that are added once, however often they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageBatch {
    /// Who sends: new for each start of an instance.
    pub instance: Arc<str>,
    /// Larger than that of any batch this instance sent before. The next is sent when this one is acknowledged.
    pub seq: u64,
    /// When it is sent: decides what is too old to be kept.
    pub now: Millis,
    /// What is added to which series.
    pub deltas: Vec<UsageDelta>,
}

impl UsageBatch {
    /// What to add to which roll-up; to those that are gone already, nothing.
    pub fn cells(&self, keep: Keep) -> BTreeMap<Cell, BTreeMap<UsageKey, Totals>> {
        let mut cells: BTreeMap<Cell, BTreeMap<UsageKey, Totals>> = BTreeMap::new();
        for delta in &self.deltas {
            for bucket in Bucket::ALL {
                let start = bucket.start(delta.minute);
                if keep.left(bucket, start, self.now) == 0 {
                    continue;
                }
                for detail in Detail::ALL {
                    let cell = cells.entry(Cell { bucket, detail, start }).or_default();
                    cell.entry(detail.of(&delta.key)).or_default().merge(&delta.totals);
                }
            }
        }
        cells
    }
}

/// By what rows are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grouping {
    /// Whether rows are told apart by project.
    pub project: bool,
    /// Whether rows are told apart by model.
    pub model: bool,
    /// Whether rows are told apart by key.
    pub key: bool,
}

/// Which usage is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// The span of a row.
    pub bucket: Bucket,
    /// The start of the first bucket.
    pub from: Millis,
    /// Buckets that start before this, in milliseconds.
    pub to: Millis,
    /// When it is asked: decides what is gone.
    pub now: Millis,
    /// By what rows are told apart.
    pub group: Grouping,
    /// Only this project, model and key, as far as they are named.
    pub only: UsageKey,
    /// The most rows that are put together.
    pub max_rows: usize,
    /// Most series that are looked at.
    pub max_scanned: usize,
}

impl UsageQuery {
    /// The coarsest roll-up that can answer it.
    pub fn detail(&self) -> Detail {
        let by_project = !self.group.model && !self.group.key;
        let of_project = self.only.model.is_none() && self.only.key.is_none();
        if by_project && of_project { Detail::Projects } else { Detail::Series }
    }

    /// The roll-ups that it asks for and that are still kept, oldest first.
    pub fn cells(&self, keep: Keep) -> impl Iterator<Item = Cell> + use<> {
        let (bucket, detail) = (self.bucket, self.detail());
        let first = bucket.start(self.from).max(keep.first(bucket, self.now));
        // Nothing is counted in buckets to come.
        let end = self.to.min(bucket.start(self.now).saturating_add(bucket.millis()));
        let step = usize::try_from(bucket.millis()).unwrap_or(1);
        (first..end.max(first)).step_by(step).map(move |start| Cell { bucket, detail, start })
    }
}

/// The answer to a [`UsageQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageTable {
    /// Rows by start and group.
    pub rows: BTreeMap<(Millis, UsageKey), Totals>,
    /// The sum of all rows.
    pub total: Totals,
    /// How many series were looked at.
    pub scanned: usize,
    /// What began before this is no longer kept.
    pub kept_from: Millis,
    /// There would be more rows, or more to look at, than was allowed: it is not whole.
    pub overflowed: bool,
}

impl UsageTable {
    /// A table without rows.
    pub fn new(query: &UsageQuery, keep: Keep) -> Self {
        Self { kept_from: keep.first(query.bucket, query.now), ..Self::default() }
    }

    /// Takes in what a roll-up holds of one series.
    pub fn add(&mut self, query: &UsageQuery, start: Millis, key: UsageKey, totals: &Totals) {
        self.scanned += 1;
        self.overflowed |= self.scanned > query.max_scanned;
        let asked = |only: &Option<Arc<str>>, has: &Option<Arc<str>>| only.is_none() || only == has;
        let wanted = asked(&query.only.project, &key.project)
            && asked(&query.only.model, &key.model)
            && asked(&query.only.key, &key.key);
        if !wanted || self.overflowed {
            return;
        }
        let UsageKey { project, model, key } = key;
        let group = UsageKey {
            project: project.filter(|_| query.group.project),
            model: model.filter(|_| query.group.model),
            key: key.filter(|_| query.group.key),
        };
        self.rows.entry((start, group)).or_default().merge(totals);
        self.total.merge(totals);
        self.overflowed |= self.rows.len() > query.max_rows;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn totals() -> impl Strategy<Value = Totals> {
        // Also at the end of the numbers, where sums stop.
        let number = prop_oneof![0..1_000_u64, Just(u64::MAX), (u64::MAX - 9)..u64::MAX, any::<u64>()];
        proptest::collection::vec(number, FIELDS)
            .prop_map(|numbers| Totals::from_numbers(numbers.try_into().unwrap()))
    }

    fn sum(parts: &[Totals]) -> Totals {
        let mut sum = Totals::default();
        parts.iter().for_each(|part| sum.merge(part));
        sum
    }

    proptest! {
        #[test]
        fn merging_is_a_commutative_monoid(a in totals(), b in totals(), c in totals()) {
            prop_assert_eq!(sum(&[a, b]), sum(&[b, a]));
            prop_assert_eq!(sum(&[sum(&[a, b]), c]), sum(&[a, sum(&[b, c])]));
            prop_assert_eq!(sum(&[a, Totals::default()]), a);
        }

        #[test]
        fn packed_totals_and_names_come_back(a in totals(), project in ".*", key in proptest::option::of(".*")) {
            prop_assert_eq!(Totals::unpack(&a.pack()), Some(a));
            let series = UsageKey { project: Some(project.into()), model: None, key: key.map(Into::into) };
            prop_assert_eq!(UsageKey::decode(series.encode().as_bytes()), Some(series));
        }

        #[test]
        fn a_moment_is_in_its_bucket(at in -10_000_000_000_000_i64..10_000_000_000_000) {
            for bucket in Bucket::ALL {
                let start = bucket.start(at);
                prop_assert!(start <= at && at < start + bucket.millis() && start % bucket.millis() == 0);
            }
        }

        #[test]
        fn what_is_kept_is_what_is_asked_for(now in 0..100 * DAY, back in 0..100 * DAY) {
            let keep = Keep { minute_days: 1, hour_days: 3, day_days: 40 };
            for bucket in Bucket::ALL {
                let start = bucket.start(now - back);
                let left = keep.left(bucket, start, now);
                prop_assert_eq!(left > 0, start >= keep.first(bucket, now));
                prop_assert_eq!(left > 0 && keep.left(bucket, start, now + left) > 0, false, "gone on time");
                prop_assert!(left == 0 || keep.left(bucket, start, now + left - 1) > 0, "and not before");
            }
        }
    }

    #[test]
    fn foreign_bytes_are_no_totals() {
        assert_eq!(Totals::unpack(&[0; TOTALS_BYTES - 1]), None);
        assert_eq!(UsageKey::decode(b"#instance"), None);
        assert_eq!(UsageKey::decode(br#"["a"]"#), None);
    }

    fn query(bucket: Bucket, from: Millis, to: Millis, now: Millis) -> UsageQuery {
        UsageQuery {
            bucket,
            from,
            to,
            now,
            group: Grouping::default(),
            only: UsageKey::default(),
            max_rows: 10,
            max_scanned: 100,
        }
    }

    #[test]
    fn only_what_is_kept_and_has_begun_is_looked_for() {
        let now = 100 * DAY + HOUR / 2;
        let starts =
            |query: &UsageQuery| query.cells(Keep::default()).map(|cell| cell.start).collect::<Vec<_>>();
        let day = query(Bucket::Day, 98 * DAY, 200 * DAY, now);
        assert_eq!(starts(&day), [98 * DAY, 99 * DAY, 100 * DAY]);
        let hours = query(Bucket::Hour, 0, 100 * DAY, now);
        assert_eq!(starts(&hours).len(), 35 * 24);
        assert!(starts(&query(Bucket::Minute, 0, DAY, now)).is_empty());
    }

    #[test]
    fn a_coarse_question_is_answered_by_the_coarse_roll_up() {
        let mut query = query(Bucket::Day, 0, DAY, 0);
        query.group.project = true;
        assert_eq!(query.detail(), Detail::Projects);
        query.only.key = Some("k".into());
        assert_eq!(query.detail(), Detail::Series);
    }

    #[test]
    fn a_table_that_grows_too_large_says_so() {
        let mut query = query(Bucket::Day, 0, DAY, 0);
        query.group.key = true;
        let mut table = UsageTable::default();
        for n in 0..10 {
            let key = UsageKey { key: Some(format!("k{n}").into()), ..UsageKey::default() };
            table.add(&query, 0, key, &Totals { requests: 1, ..Totals::default() });
        }
        assert_eq!((table.rows.len(), table.total.requests, table.overflowed), (10, 10, false));
        table.add(&query, DAY, UsageKey::default(), &Totals::default());
        assert!(table.overflowed);
    }
}
