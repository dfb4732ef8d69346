//! Days against the days before them: each sign at its figure, exactly, and by a naive definition.

use proptest::prelude::*;

use super::*;

const DOLLAR: u64 = 1_000_000_000;

fn rules() -> Rules {
    Rules {
        mode: Mode::Enforce,
        z: 2_500,
        times_mean: 3_000,
        times_yesterday: 5_000,
        min_days: 4,
        min_cost: 50 * DOLLAR,
        min_tokens: 5_000_000,
        same_weekday: 1_500,
        interval: CheckInterval::HOUR,
        cut_off_after: 3,
    }
}

/// Days in dollars, the day that is judged first; a token costs a tenth of a cent.
fn days(dollars: &[u64]) -> [Spent; SPAN] {
    let mut days = [Spent::default(); SPAN];
    for (day, dollars) in days.iter_mut().zip(dollars) {
        *day = Spent { cost_nanos: dollars * DOLLAR, tokens: dollars * 1_000 };
    }
    days
}

fn shown(dollars: &[u64]) -> Vec<&'static str> {
    let found = rules().judge(&days(dollars));
    found.map_or(Vec::new(), |found| found.signs.iter().map(|sign| sign.name).collect())
}

#[test]
fn each_sign_shows_above_its_figure_and_not_at_it() {
    assert_eq!(shown(&[125, 100, 100, 100, 100, 100, 100]), [""; 0]);
    assert_eq!(shown(&[126, 100, 100, 100, 100, 100, 100]), ["z"]);
    assert_eq!(shown(&[150, 100, 100, 100, 100, 100, 100, 100]), [""; 0], "the same weekday");
    assert_eq!(shown(&[151, 100, 100, 100, 100, 100, 100, 100]), ["z"]);
    // So far apart that no deviation is unusual.
    let wild = |today| [today, 10, 400, 10, 250, 10, 10, 10];
    assert_eq!(shown(&wild(50)), [""; 0]);
    assert_eq!(shown(&wild(51)), ["times_yesterday"]);
    assert_eq!(shown(&[300, 60, 300, 10, 30, 100]), [""; 0]);
    assert_eq!(shown(&[301, 60, 300, 10, 30, 100]), ["times_mean", "times_yesterday"]);
}

#[test]
fn one_sign_is_a_caution_and_two_are_critical_with_their_figures() {
    let found = rules().judge(&days(&[400, 100, 100, 100, 100, 100, 100, 100])).unwrap();
    assert_eq!(found.severity(), Severity::Critical);
    assert_eq!((found.observed, found.mean, found.days), (400 * DOLLAR, 100 * DOLLAR, 7));
    assert_eq!((found.threshold, found.yesterday), (300 * DOLLAR, Some(100 * DOLLAR)));
    let signs: Vec<_> = found.signs.iter().map(|sign| (sign.name, sign.observed, sign.limit)).collect();
    assert_eq!(signs, [("z", Some(30_000), 2_500), ("times_mean", Some(4_000), 3_000)]);
    let found = rules().judge(&days(&[151, 100, 100, 100, 100, 100, 100, 100])).unwrap();
    assert_eq!(found.severity(), Severity::Medium);
}

#[test]
fn little_money_and_few_days_are_never_judged() {
    assert_eq!(shown(&[49, 1, 1, 1, 1, 1, 1, 1]), [""; 0]);
    assert_eq!(shown(&[50, 1, 1, 1, 1, 1, 1, 1]).len(), 3);
    assert_eq!(shown(&[500, 10, 0, 10, 0, 10, 0, 0]), [""; 0]);
    assert_eq!(shown(&[500, 10, 0, 10, 0, 10, 10, 0]).len(), 3);
    assert_eq!(shown(&[500, 0, 0, 10, 10, 10, 10, 0]).len(), 2, "nothing to hold against yesterday");
}

#[test]
fn tokens_are_judged_where_the_cost_is_not_known() {
    let free = |tokens: [u64; 8]| {
        let mut days = [Spent::default(); SPAN];
        days.iter_mut().zip(tokens).for_each(|(day, tokens)| day.tokens = tokens * 1_000_000);
        days
    };
    assert_eq!(rules().judge(&free([4, 1, 1, 1, 1, 1, 1, 1])), None);
    let found = rules().judge(&free([6, 1, 1, 1, 1, 1, 1, 1])).unwrap();
    assert_eq!((found.amount, found.signs.len()), (Amount::Tokens, 3));
    // Dear since today alone, and used as ever.
    let mut priced = free([6, 6, 6, 6, 6, 6, 6, 6]);
    priced[0].cost_nanos = 90 * DOLLAR;
    assert_eq!(rules().judge(&priced), None);
    // Far more tokens of a cheap model are a sign.
    let mut cheap = days(&[100, 100, 100, 100, 100, 100, 100, 100]);
    cheap[0].tokens *= 4;
    let found = rules().judge(&cheap).unwrap();
    assert_eq!((found.amount, found.signs[0].amount, found.signs.len()), (Amount::Cost, Amount::Tokens, 1));
}

#[test]
fn a_weekly_batch_a_growing_key_and_an_office_are_left_alone() {
    for today in 0..28 {
        let series = |of: &dyn Fn(i64) -> u64| -> Vec<u64> { (0..15).map(|back| of(today - back)).collect() };
        let batch = series(&|day| if day.rem_euclid(7) == 0 { 900 } else { 20 });
        assert_eq!(shown(&batch), [""; 0], "batch, day {today}");
        let office = series(&|day| if day.rem_euclid(7) < 5 { 400 } else { 10 });
        assert_eq!(shown(&office), [""; 0], "office, day {today}");
        let growing = series(&|day| (10_000.0 * 1.1_f64.powi(day as i32)) as u64);
        assert_eq!(shown(&growing), [""; 0], "growing, day {today}");
    }
}

#[test]
fn critical_days_do_not_become_the_measure_and_a_new_batch_is_learned_after_a_week() {
    let mut attacked = vec![100; 15];
    for count in 1..=4 {
        attacked[count - 1] = 1_000;
        let found = rules().judge(&days(&attacked)).unwrap();
        assert!(found.is_critical(), "{count} days");
        assert_eq!((found.mean, found.days), (100 * DOLLAR, 8 - count));
    }
    let mut batch = vec![20; 15];
    batch[0] = 900;
    assert!(rules().judge(&days(&batch)).unwrap().is_critical());
    batch[7] = 900;
    assert_eq!(rules().judge(&days(&batch)), None);
}

/// The judgement of one day by all days before it, in binary fractions, or `None` where it is too near to tell.
fn naive(today: u64, past: &[u64], z: f64) -> Option<bool> {
    let n = past.len() as f64;
    let mean = past.iter().map(|v| *v as f64).sum::<f64>() / n;
    let variance = past.iter().map(|v| (*v as f64 - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let observed = (today as f64 - mean) / variance.sqrt().max(mean / 10.0);
    ((observed - z).abs() > 1e-6 * z).then_some(observed > z)
}

/// The same in whole numbers of any size: digits of a million, lowest first.
mod big {
    const BASE: u128 = 1_000_000;

    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Big(Vec<u128>);

    impl Big {
        pub(super) fn of(mut number: u128) -> Self {
            let mut digits = Vec::new();
            while number > 0 {
                digits.push(number % BASE);
                number /= BASE;
            }
            Self(digits)
        }

        pub(super) fn times(&self, other: &Self) -> Self {
            let mut digits = vec![0; self.0.len() + other.0.len() + 2];
            for (i, a) in self.0.iter().enumerate() {
                for (j, b) in other.0.iter().enumerate() {
                    digits[i + j] += a * b;
                }
            }
            for i in 0..digits.len() - 1 {
                digits[i + 1] += digits[i] / BASE;
                digits[i] %= BASE;
            }
            while digits.last() == Some(&0) {
                digits.pop();
            }
            Self(digits)
        }

        pub(super) fn is_above(&self, other: &Self) -> bool {
            let key = |n: &Self| (n.0.len(), n.0.iter().rev().copied().collect::<Vec<_>>());
            key(self) > key(other)
        }
    }
}

proptest! {
    #[test]
    fn amounts_that_fit_are_compared_exactly(
        day in 1..1_u64 << DIGITS,
        past in prop::collection::vec(1..1_u64 << DIGITS, 2..=7),
        scale in 0..42_u32,
        z in 1..100_000_u64,
    ) {
        use big::Big;
        let past: Vec<u64> = past.into_iter().map(|v| (v >> scale).max(1)).collect();
        let n = past.len() as u128;
        let total: u128 = past.iter().map(|v| u128::from(*v)).sum();
        let above = (n * u128::from(day)).saturating_sub(total);
        let spread: u128 = n * past.iter().map(|v| u128::from(*v).pow(2)).sum::<u128>() - total.pow(2);
        let times = |a: u128, b: u128| Big::of(a).times(&Big::of(b));
        let z_squared = times(z.into(), z.into());
        let far = times(above, above).times(&Big::of((n - 1) * 1_000_000))
            .is_above(&times(spread, n).times(&z_squared));
        let floor = times(above, 10_000).is_above(&times(total, z.into()));
        prop_assert_eq!(is_far(day, &past, z), above > 0 && far && floor);
        let shown = deviations(day, &past);
        prop_assert!(shown.is_none_or(|shown| is_far(day, &past, z) == (shown >= z) || shown == z));
    }

    #[test]
    fn amounts_of_any_size_are_compared_as_fractions_are(
        day in any::<u64>(),
        past in prop::collection::vec(any::<u64>(), 2..=7),
        scale in 0..60_u32,
        z in 100..10_000_u64,
    ) {
        let past: Vec<u64> = past.into_iter().map(|v| (v >> scale).max(1)).collect();
        if let Some(expected) = naive(day, &past, z as f64 / 1000.0) {
            prop_assert_eq!(is_far(day, &past, z), expected);
        }
    }

    #[test]
    fn the_judgement_is_that_of_the_definition(dollars in prop::collection::vec(0..2_000_u64, SPAN)) {
        prop_assert_eq!(shown(&dollars), by_definition(&dollars));
    }

    #[test]
    fn more_is_never_less_unusual(dollars in prop::collection::vec(0..2_000_u64, SPAN), more in 1..1_000_u64) {
        let before = shown(&dollars).len();
        let mut raised = dollars;
        raised[0] += more;
        prop_assert!(shown(&raised).len() >= before);
    }
}

/// The definition, day by day from the oldest, in fractions that are exact for whole dollars.
fn by_definition(dollars: &[u64]) -> Vec<&'static str> {
    let mut critical = [false; SPAN];
    let mut signs = Vec::new();
    for at in (0..=WEEK).rev() {
        signs.clear();
        let today = dollars[at] as f64;
        let past: Vec<f64> = (at + 1..=at + 7)
            .filter(|d| !critical[*d] && dollars[*d] > 0)
            .map(|d| dollars[d] as f64)
            .collect();
        let excused = dollars[at + 7] > 0 && today <= 1.5 * dollars[at + 7] as f64;
        if today >= 50.0 && past.len() >= 4 && !excused {
            let n = past.len() as f64;
            let mean = past.iter().sum::<f64>() / n;
            let variance = past.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
            // Nudged, as what is exactly at the figure is not above it.
            if (today - mean) / variance.sqrt().max(mean / 10.0) > 2.5 + 1e-12 {
                signs.push("z");
            }
            if today * n > 3.0 * past.iter().sum::<f64>() {
                signs.push("times_mean");
            }
            let yesterday = dollars[at + 1] as f64;
            if yesterday > 0.0 && !critical[at + 1] && today > 5.0 * yesterday {
                signs.push("times_yesterday");
            }
        }
        critical[at] = signs.len() >= 2;
    }
    signs
}
