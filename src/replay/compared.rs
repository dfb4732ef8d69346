//! The figures of a comparison: what its text and its HTML file are both made of.

use std::fmt;

/// Where two policies differ, in figures. Of each pair the first is under the new policy, the second under the old.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compared {
    /// Requests that were decided differently.
    pub differing: u64,
    /// The keys that these are of.
    pub keys: usize,
    /// What is counted over all keys, or over all addresses.
    pub totals: Vec<(&'static str, [u64; 2])>,
    /// Findings by type and severity.
    pub findings: Vec<(String, [u64; 2])>,
    /// Subjects that only the new policy bans.
    pub new_only: usize,
    /// Subjects that only the old one bans.
    pub old_only: usize,
    /// Subjects that both ban, at other times.
    pub other_times: usize,
    /// The first subjects that the two treat differently: those that one of them alone bans come first.
    pub rows: Vec<Difference>,
    /// How many more of them there are.
    pub more: usize,
}

/// What the two did about one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whom it is about.
    pub subject: String,
    /// Who bans it: `new only`, `old only`, `other times`, `same`; `-`: neither.
    pub banned: &'static str,
    /// How many requests were refused.
    pub refused: [u64; 2],
    /// How many were admitted while throttled.
    pub throttled: [u64; 2],
    /// Requests that were decided differently.
    pub differing: u64,
    /// The first of these in words: when, which request, for what, and what each policy did.
    pub first: Option<String>,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests of {} keys were decided differently", self.differing, self.keys)?;
        writeln!(f, "{:<40}{:>10}{:>10}", "", "new", "old")?;
        for (what, [new, old]) in &self.totals {
            writeln!(f, "{what:<40}{new:>10}{old:>10}")?;
        }
        for (what, [new, old]) in &self.findings {
            writeln!(f, "{what:<40}{new:>10}{old:>10}")?;
        }
        if self.rows.is_empty() { Ok(()) } else { self.write_rows(f) }
    }
}

impl Compared {
    fn write_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { new_only, old_only, other_times, .. } = self;
        writeln!(
            f,
            "banned under the new policy only: {new_only}; under the old only: {old_only}; under both, at other \
             times: {other_times}"
        )?;
        let widest = self.rows.iter().map(|row| row.subject.chars().count()).max().unwrap_or(0);
        writeln!(
            f,
            "{:<widest$}  {:<12}{:>9}{:>9}{:>11}{:>11}{:>9}  first difference",
            "subject", "banned", "refused", "(old)", "throttled", "(old)", "differ"
        )?;
        for row in &self.rows {
            let ([refused, old_refused], [throttled, old_throttled]) = (row.refused, row.throttled);
            write!(f, "{:<widest$}  {:<12}{refused:>9}{old_refused:>9}", row.subject, row.banned)?;
            write!(f, "{throttled:>11}{old_throttled:>11}{:>9}  ", row.differing)?;
            writeln!(f, "{}", row.first.as_deref().unwrap_or("-"))?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more; --differences FILE has every request", self.more)?;
        }
        Ok(())
    }
}
