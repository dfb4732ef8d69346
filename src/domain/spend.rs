//! What a key has spent in a day (UTC) against its days before: cautions, criticals, and when it is to be cut off.
//!
//! A pure judgement of whole numbers: amounts are nano-dollars and tokens, figures of the settings are thousandths, and
//! fractions are compared by multiplying out. Where `detect/spike` judges each request by what the profile has learned,
//! this judges sums of all that was used, late, refused and flagged requests included.

use super::{
    finding::{Mode, Severity},
    money::Usd,
};

/// Days before a day that its judgement is about.
pub const WEEK: usize = 7;
/// A day and the days before it that its judgement looks at: those of the week before are judged themselves.
pub const SPAN: usize = 1 + 2 * WEEK;
/// A deviation counts as at least this part of the mean: days that are nearly equal say little about what is unusual.
const LEAST_DEVIATION: u128 = 10;
/// Amounts of more binary digits than this are compared by that many, so that squares fit.
const DIGITS: u32 = 42;

/// What is held against what. Figures are in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether keys are cut off, or it is only said that they would be.
    pub mode: Mode,
    /// Deviations above the mean.
    pub z: u64,
    /// Times the mean, in cost or tokens.
    pub times_mean: u64,
    /// Times the day before.
    pub times_yesterday: u64,
    /// Days of the last seven that must be known, 2 to 7.
    pub min_days: usize,
    /// Nano-dollars: a day of less is never judged.
    pub min_cost: u64,
    /// Tokens: the same for a key whose cost is not known.
    pub min_tokens: u64,
    /// A day of at most so many times the same weekday a week ago is no anomaly; 0: none is excused.
    pub same_weekday: u64,
    /// Hourly checks in a row at which the key is critical when it is cut off; 0: never.
    pub cut_off_after: usize,
}

/// What a key used in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// The cost in whole nano-dollars.
    pub cost_nanos: u64,
    /// Tokens of prompts and answers.
    pub tokens: u64,
}

impl Spent {
    /// Adds another spend to it.
    pub fn add(&mut self, other: Self) {
        self.cost_nanos = self.cost_nanos.saturating_add(other.cost_nanos);
        self.tokens = self.tokens.saturating_add(other.tokens);
    }

    /// What was left before `other` was added.
    pub fn without(self, other: Self) -> Self {
        Self {
            cost_nanos: self.cost_nanos.saturating_sub(other.cost_nanos),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }

    /// Whether anything was used.
    pub fn is_some(self) -> bool {
        self != Self::default()
    }

    fn of(self, amount: Amount) -> u64 {
        match amount {
            Amount::Cost => self.cost_nanos,
            Amount::Tokens => self.tokens,
        }
    }
}

/// Which of the two amounts is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// The cost, in nano-dollars.
    Cost,
    /// Tokens, for a key whose cost is not known.
    Tokens,
}

impl Amount {
    /// Its name in evidence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost_usd",
            Self::Tokens => "tokens",
        }
    }

    /// The amount with its unit, for people.
    pub fn words(self, amount: u64) -> String {
        match self {
            Self::Cost => format!("${}", Usd(amount)),
            Self::Tokens => format!("{amount} tokens"),
        }
    }

    /// For evidence: dollars as a decimal, tokens as a number.
    pub fn value(self, amount: u64) -> serde_json::Value {
        match self {
            Self::Cost => Usd(amount).to_string().into(),
            Self::Tokens => amount.into(),
        }
    }
}

/// A way in which a day is unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign {
    /// `z`, `times_mean` or `times_yesterday`.
    pub name: &'static str,
    /// Which amount it was that stood out.
    pub amount: Amount,
    /// How far, in thousandths, rounded down; `None`: the days before do not stray, or beyond all bounds.
    pub observed: Option<u64>,
    /// What it is above, in thousandths.
    pub limit: u64,
}

/// A day that stood out, and from what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Which of the two amounts was judged.
    pub amount: Amount,
    /// How much of it there was.
    pub observed: u64,
    /// The mean of the days before that are known and were not critical.
    pub mean: u64,
    /// What is `times_mean` times the mean.
    pub threshold: u64,
    /// How many days those are.
    pub days: usize,
    /// The day before, if it is one of them.
    pub yesterday: Option<u64>,
    /// What shows: at least one.
    pub signs: Vec<Sign>,
}

impl Judgement {
    /// One sign is a caution, two are critical.
    pub fn severity(&self) -> Severity {
        if self.signs.len() >= 2 { Severity::Critical } else { Severity::Medium }
    }

    /// Whether it is critical.
    pub fn is_critical(&self) -> bool {
        self.severity() == Severity::Critical
    }
}

impl Rules {
    /// Whether a day is large enough to be judged at all.
    pub fn matters(&self, day: Spent) -> bool {
        if day.cost_nanos > 0 {
            day.cost_nanos >= self.min_cost
        } else {
            day.tokens >= self.min_tokens.max(1)
        }
    }

    /// Judges a day by those before it; the first is the day, the next the one before, and so on. Days without usage are
    /// not known. `None`: nothing is unusual about it, or too little is known.
    pub fn judge(&self, days: &[Spent; SPAN]) -> Option<Judgement> {
        let mut critical = [false; SPAN];
        // The oldest are taken as they are, and each after it by those before it: what was critical teaches nothing.
        for day in (1..=WEEK).rev() {
            critical[day] = self.judge_at(day, days, &critical).is_some_and(|found| found.is_critical());
        }
        self.judge_at(0, days, &critical)
    }

    fn judge_at(&self, at: usize, days: &[Spent; SPAN], critical: &[bool; SPAN]) -> Option<Judgement> {
        let today = days[at];
        if !self.matters(today) {
            return None;
        }
        let known = |amount: Amount| -> Vec<u64> {
            let usual = (at + 1..=at + WEEK).filter(|day| !critical[*day]);
            usual.map(|day| days[day].of(amount)).filter(|amount| *amount > 0).collect()
        };
        let (costs, tokens) = (known(Amount::Cost), known(Amount::Tokens));
        let priced = today.cost_nanos > 0 && costs.len() >= self.min_days;
        let (amount, past) = if priced { (Amount::Cost, &costs) } else { (Amount::Tokens, &tokens) };
        if past.len() < self.min_days.max(2) {
            return None;
        }
        let observed = today.of(amount);
        // Not so with a batch job of every Monday.
        let unlike =
            |amount: Amount| is_above(today.of(amount), days[at + WEEK].of(amount), 1, self.same_weekday);
        let mut signs = Vec::new();
        if unlike(amount) && is_far(observed, past, self.z) {
            signs.push(Sign { name: "z", amount, observed: deviations(observed, past), limit: self.z });
        }
        let means = [(amount, past), (Amount::Tokens, &tokens)];
        let above = means.into_iter().find(|(amount, past)| {
            past.len() >= self.min_days
                && unlike(*amount)
                && is_above(today.of(*amount), sum(past), past.len(), self.times_mean)
        });
        if let Some((amount, past)) = above {
            let observed = ratio(u128::from(today.of(amount)) * past.len() as u128, sum(past));
            signs.push(Sign { name: "times_mean", amount, observed, limit: self.times_mean });
        }
        let yesterday = days[at + 1].of(amount);
        let yesterday = Some(yesterday).filter(|amount| *amount > 0 && !critical[at + 1]);
        let above = |before: &u64| unlike(amount) && is_above(observed, *before, 1, self.times_yesterday);
        if let Some(before) = yesterday.filter(above) {
            let observed = ratio(u128::from(observed), u128::from(before));
            signs.push(Sign { name: "times_yesterday", amount, observed, limit: self.times_yesterday });
        }
        let days = past.len();
        let mean = sum(past) / days as u128;
        let threshold = sum(past) * u128::from(self.times_mean) / (1000 * days as u128);
        let [mean, threshold] = [mean, threshold].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
        (!signs.is_empty()).then_some(Judgement { amount, observed, mean, threshold, days, yesterday, signs })
    }
}

fn sum(days: &[u64]) -> u128 {
    days.iter().map(|day| u128::from(*day)).sum()
}

/// Whether an amount is above so many thousandths of `sum / days`.
fn is_above(amount: u64, sum: impl Into<u128>, days: usize, thousandths: u64) -> bool {
    u128::from(amount) * days as u128 * 1000 > sum.into().saturating_mul(u128::from(thousandths))
}

/// `amount / of` in thousandths.
fn ratio(amount: u128, of: u128) -> Option<u64> {
    amount.checked_mul(1000)?.checked_div(of).and_then(|times| u64::try_from(times).ok())
}

/// How far a day is above those before it, multiplied out: with n days of sum s and squares q the deviation's square is
/// (n q - s²) / (n (n - 1)) (the sample's), and the day is (n x - s) / n above the mean.
struct Apart {
    above: u128,
    sum: u128,
    spread: u128,
    n: u128,
}

impl Apart {
    /// `None` when it is not above the mean.
    fn of(day: u64, past: &[u64]) -> Option<Self> {
        let most = past.iter().copied().max().unwrap_or(0).max(day);
        let shift = (u64::BITS - most.leading_zeros()).saturating_sub(DIGITS);
        let scaled: Vec<u64> = past.iter().map(|amount| amount >> shift).collect();
        let n = past.len() as u128;
        let sum = sum(&scaled);
        let above = (n * u128::from(day >> shift)).checked_sub(sum).filter(|above| *above > 0)?;
        let squares: u128 = scaled.iter().map(|amount| u128::from(*amount).pow(2)).sum();
        Some(Self { above, sum, spread: n * squares - sum * sum, n })
    }
}

/// Whether a day is more than `z` thousandths of a deviation above the mean.
fn is_far(day: u64, past: &[u64], z: u64) -> bool {
    let Some(Apart { above, sum, spread, n }) = Apart::of(day, past) else { return false };
    let z = u128::from(z);
    above * LEAST_DEVIATION * 1000 > z * sum && above.pow(2) * (n - 1) * 1_000_000 > z.pow(2) * n * spread
}

/// How many thousandths of a deviation a day is above the mean, rounded down.
fn deviations(day: u64, past: &[u64]) -> Option<u64> {
    let Apart { above, sum, spread, n } = Apart::of(day, past)?;
    let by_mean = (above * LEAST_DEVIATION * 1000).checked_div(sum);
    let by_spread = (above.pow(2) * (n - 1) * 1_000_000).checked_div(n * spread).map(u128::isqrt);
    let least = by_mean.into_iter().chain(by_spread).min()?;
    u64::try_from(least).ok()
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            (found.amount, found.signs[0].amount, found.signs.len()),
            (Amount::Cost, Amount::Tokens, 1)
        );
    }

    #[test]
    fn a_weekly_batch_a_growing_key_and_an_office_are_left_alone() {
        for today in 0..28 {
            let series =
                |of: &dyn Fn(i64) -> u64| -> Vec<u64> { (0..15).map(|back| of(today - back)).collect() };
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
        pub struct Big(Vec<u128>);

        impl Big {
            pub fn of(mut number: u128) -> Self {
                let mut digits = Vec::new();
                while number > 0 {
                    digits.push(number % BASE);
                    number /= BASE;
                }
                Self(digits)
            }

            pub fn times(&self, other: &Self) -> Self {
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

            pub fn is_above(&self, other: &Self) -> bool {
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
}
