//! What a key has spent in a day (UTC) against its days before: cautions, criticals, and when it is to be cut off.
//!
//! A pure judgement of whole numbers: amounts are nano-dollars and tokens, figures of the settings are thousandths, and
//! fractions are compared by multiplying out. Where `detect/spike` judges each request by what the profile has learned,
//! this judges sums of all that was used, late, refused and flagged requests included.

mod interval;

pub use interval::CheckInterval;

use super::{
    day_comparison::{Deviation, Ratio, sum, times_mean, times_yesterday},
    finding::{Mode, Severity},
    money::Usd,
    window::Unit,
};

/// Days before a day that its judgement is about.
pub const WEEK: usize = 7;
/// A day and the days before it that its judgement looks at: those of the week before are judged themselves.
pub const SPAN: usize = 1 + 2 * WEEK;
/// A standard deviation counts as at least the mean divided by this: days that are nearly equal say little about what
/// is unusual.
const MEAN_PER_LEAST_DEVIATION: u32 = 10;
/// Amounts of more binary digits than this are compared by that many, so that their squares fit into 128.
const DIGITS: u32 = 42;

/// From where on a day is unusual. Figures are in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether keys are cut off, or it is only reported that they would be.
    pub mode: Mode,
    /// Standard deviations above the mean.
    pub z: u64,
    /// Times the mean, in cost or tokens.
    pub times_mean: u64,
    /// Times the day before, in cost or tokens.
    pub times_yesterday: u64,
    /// Days of the last seven that must be known, 2 to 7.
    pub min_days: usize,
    /// Nano-dollars: a day of less is never judged.
    pub min_cost: u64,
    /// Tokens: the same for a key whose cost is not known.
    pub min_tokens: u64,
    /// A day of at most so many times the same weekday a week ago is no anomaly; 0: none is excused.
    pub same_weekday: u64,
    /// How often days are judged.
    pub interval: CheckInterval,
    /// Checks in a row at which the key is critical when it is cut off; 0: never.
    pub cut_off_after: usize,
}

/// What a key used in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// What the requests cost, in nano-dollars.
    pub cost_nanos: u64,
    /// Tokens, prompt and completion together.
    pub tokens: u64,
}

impl Spent {
    /// Adds what was used elsewhere or later; sums stop at the largest number.
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

/// In which unit days are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// What the requests cost, in nano-dollars.
    Cost,
    /// Tokens, for a key whose cost is not known.
    Tokens,
}

impl Amount {
    /// The unit in which evidence shows it.
    pub fn unit(self) -> Unit {
        match self {
            Self::Cost => Unit::CostUsd,
            Self::Tokens => Unit::Tokens,
        }
    }

    /// An amount for people: `$350`, `6000000 tokens`.
    pub fn words(self, amount: u64) -> String {
        match self {
            Self::Cost => format!("${}", Usd(amount)),
            Self::Tokens => format!("{amount} tokens"),
        }
    }
}

/// A way in which a day is unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign {
    /// `z`, `times_mean` or `times_yesterday`.
    pub name: &'static str,
    /// The amount in which it shows: tokens may show it where cost does not.
    pub amount: Amount,
    /// How far, in thousandths, rounded down; `None`: the days before do not stray, or beyond all bounds.
    pub observed: Option<u64>,
    /// What it is above, in thousandths.
    pub limit: u64,
}

/// An unusual day, with what shows that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The amount that was judged.
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

    /// Whether two signs show or more, so that it counts towards a cut-off.
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

    /// Judges a day by those before it; the first is the day, the next the one before, and so on. Days without usage
    /// are not known. `None`: nothing is unusual about it, or too little is known.
    pub fn judge(&self, days: &[Spent; SPAN]) -> Option<Judgement> {
        let mut critical = [false; SPAN];
        // The oldest are taken as they are, and each after it by those before it: what was critical teaches nothing.
        for day in (1..=WEEK).rev() {
            critical[day] = self.judge_at(day, days, &critical).is_some_and(|found| found.is_critical());
        }
        self.judge_at(0, days, &critical)
    }

    fn judge_at(&self, at: usize, days: &[Spent; SPAN], critical: &[bool; SPAN]) -> Option<Judgement> {
        let day = Day { at, days, critical };
        let today = day.spent();
        if !self.matters(today) {
            return None;
        }
        let costs = day.known(Amount::Cost);
        let priced = today.cost_nanos > 0 && costs.len() >= self.min_days;
        let (amount, past) =
            if priced { (Amount::Cost, costs) } else { (Amount::Tokens, day.known(Amount::Tokens)) };
        if past.len() < self.min_days.max(2) {
            return None;
        }
        let signs = [
            self.far_above_the_mean(&day, amount, &past),
            self.many_times_the_mean(&day, amount, &past),
            self.many_times_yesterday(&day, amount),
        ];
        let signs: Vec<Sign> = signs.into_iter().flatten().collect();
        (!signs.is_empty()).then(|| self.judgement(&day, amount, &past, signs))
    }

    fn far_above_the_mean(&self, day: &Day<'_>, amount: Amount, past: &[u64]) -> Option<Sign> {
        let today = day.spent().of(amount);
        let shows = !self.is_like_last_week(day, amount) && is_far(today, past, self.z);
        shows.then(|| Sign { name: "z", amount, observed: deviations(today, past), limit: self.z })
    }

    /// In the amount that is judged, or else in tokens: far more tokens of a cheap model are a sign as well.
    fn many_times_the_mean(&self, day: &Day<'_>, amount: Amount, past: &[u64]) -> Option<Sign> {
        let sign = |amount: Amount, past: &[u64]| {
            let times = times_mean(u128::from(day.spent().of(amount)), &wide(past));
            let shows = past.len() >= self.min_days
                && !self.is_like_last_week(day, amount)
                && times.is_above(in_thousandths(self.times_mean));
            let observed = thousandths(times);
            shows.then_some(Sign { name: "times_mean", amount, observed, limit: self.times_mean })
        };
        sign(amount, past).or_else(|| sign(Amount::Tokens, &day.known(Amount::Tokens)))
    }

    fn many_times_yesterday(&self, day: &Day<'_>, amount: Amount) -> Option<Sign> {
        let nothing = Ratio { top: 0, bottom: 1 };
        let times = times_yesterday(day.spent().of(amount).into(), day.yesterday(amount)?.into(), nothing);
        let shows =
            !self.is_like_last_week(day, amount) && times.is_above(in_thousandths(self.times_yesterday));
        let observed = thousandths(times);
        shows.then_some(Sign { name: "times_yesterday", amount, observed, limit: self.times_yesterday })
    }

    /// Whether a day is at most `same_weekday` times the same weekday a week before: a batch job of every Monday.
    fn is_like_last_week(&self, day: &Day<'_>, amount: Amount) -> bool {
        let before = day.days[day.at + WEEK].of(amount);
        let times = Ratio { top: u128::from(day.spent().of(amount)), bottom: before.into() };
        !times.is_above(in_thousandths(self.same_weekday))
    }

    fn judgement(&self, day: &Day<'_>, amount: Amount, past: &[u64], signs: Vec<Sign>) -> Judgement {
        let (days, sum) = (past.len(), sum(&wide(past)));
        let mean = sum / days as u128;
        let threshold = sum * u128::from(self.times_mean) / (1000 * days as u128);
        let [mean, threshold] = [mean, threshold].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
        let (observed, yesterday) = (day.spent().of(amount), day.yesterday(amount));
        Judgement { amount, observed, mean, threshold, days, yesterday, signs }
    }
}

/// A day among those before it, of which some were critical.
struct Day<'a> {
    at: usize,
    days: &'a [Spent; SPAN],
    critical: &'a [bool; SPAN],
}

impl Day<'_> {
    fn spent(&self) -> Spent {
        self.days[self.at]
    }

    /// The amounts of the seven days before, without days of nothing and those that were critical.
    fn known(&self, amount: Amount) -> Vec<u64> {
        let usual = (self.at + 1..=self.at + WEEK).filter(|day| !self.critical[*day]);
        usual.map(|day| self.days[day].of(amount)).filter(|amount| *amount > 0).collect()
    }

    /// The amount of the day before, unless it was nothing or critical.
    fn yesterday(&self, amount: Amount) -> Option<u64> {
        let yesterday = self.at + 1;
        Some(self.days[yesterday].of(amount)).filter(|amount| *amount > 0 && !self.critical[yesterday])
    }
}

/// A figure in thousandths as a fraction.
fn in_thousandths(figure: u64) -> Ratio<u128> {
    Ratio { top: figure.into(), bottom: 1_000 }
}

/// A fraction in thousandths, rounded down; `None` beyond all bounds.
fn thousandths(ratio: Ratio<u128>) -> Option<u64> {
    ratio.top.checked_mul(1_000)?.checked_div(ratio.bottom).and_then(|times| u64::try_from(times).ok())
}

fn wide(days: &[u64]) -> Vec<u128> {
    days.iter().map(|day| u128::from(*day)).collect()
}

/// How far a day is from the mean of those before it. Amounts are cut to [`DIGITS`], so that their squares fit.
fn deviation(day: u64, past: &[u64]) -> Deviation<u128> {
    let most = past.iter().copied().max().unwrap_or(0).max(day);
    let shift = (u64::BITS - most.leading_zeros()).saturating_sub(DIGITS);
    let past: Vec<u128> = past.iter().map(|amount| u128::from(amount >> shift)).collect();
    Deviation::of((day >> shift).into(), &past, MEAN_PER_LEAST_DEVIATION)
}

/// Whether a day is more than `z` thousandths of a deviation above the mean.
fn is_far(day: u64, past: &[u64], z: u64) -> bool {
    deviation(day, past).is_above(in_thousandths(z))
}

/// How many thousandths of a deviation a day is above the mean, rounded down; `None` below it, or beyond all bounds.
fn deviations(day: u64, past: &[u64]) -> Option<u64> {
    let Deviation { is_below, in_least, in_sample_squared: Ratio { top, bottom } } = deviation(day, past);
    let in_sample = top.checked_mul(1_000_000).and_then(|top| top.checked_div(bottom)).map(u128::isqrt);
    let in_sample = in_sample.and_then(|z| u64::try_from(z).ok());
    thousandths(in_least).into_iter().chain(in_sample).min().filter(|_| !is_below)
}

#[cfg(test)]
mod tests;
