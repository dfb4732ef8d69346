//! Sums, roll-ups and questions: what holds of all of them.

use proptest::prelude::*;

use super::*;
use crate::domain::{DAY, HOUR, Millis};

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
    fn packed_totals_and_names_come_back(
        a in totals(), names in proptest::array::uniform5(proptest::option::of(".*")),
    ) {
        prop_assert_eq!(Totals::unpack(&a.pack()), Some(a));
        let [project, model, key, endpoint, user] = names.map(|name| name.map(Into::into));
        let series = UsageKey { project, model, key, endpoint, user };
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
    assert_eq!(UsageKey::decode(br#"["a",null,"b","c"]"#), None);
}

fn query(bucket: Bucket, from: Millis, to: Millis, now: Millis) -> UsageQuery {
    UsageQuery { max_rows: 10, max_scanned: 100, ..UsageQuery::new(Rows::Each(bucket), (from, to), now) }
}

#[test]
fn only_what_is_kept_and_has_begun_is_looked_for() {
    let now = 100 * DAY + HOUR / 2;
    let starts =
        |query: &UsageQuery| query.runs(Keep::default()).iter().flat_map(Run::starts).collect::<Vec<_>>();
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
    query.only.user = Some("u".into());
    assert_eq!(query.detail(), Detail::Endpoints);
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
