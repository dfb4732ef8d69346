//! The score as a table: the cells of which text and HTML are made, and the text.

use std::{collections::BTreeMap, fmt};

use super::{AttackScore, BenignScore, Score, Tellable};
use crate::domain::{HOUR, MINUTE, Millis, SECOND, finding::AnomalyKind};

/// What a score came to, in cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// By kind of attack, then sums.
    pub attacks: Vec<Row>,
    /// By archetype of the key that was attacked.
    pub victims: Vec<Row>,
    /// Attacks that were not found, with how many of a kind there were.
    pub missed: Vec<String>,
    /// By archetype of benign keys, then sums.
    pub benign: Vec<Row>,
}

/// One row, its cells as they are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Of what it is.
    pub name: String,
    /// What is in the columns of `Table::ATTACKS` or `Table::BENIGN`, each as it is shown.
    pub cells: Vec<String>,
    /// Findings, by how often.
    pub findings: String,
    /// Whether it sums rows above it.
    pub is_sum: bool,
}

impl Table {
    /// What is said of attacks, and how wide: how many there were and were found, after which time and how many
    /// requests; of what they did after that, the share of requests and of cost that was let through; of their
    /// victims' own requests meanwhile, the share that was refused.
    pub const ATTACKS: [(&str, usize); 8] = [
        ("number", 8),
        ("found", 8),
        ("recall", 8),
        ("median", 12),
        ("requests", 10),
        ("through", 9),
        ("cost", 8),
        ("owner", 8),
    ];
    /// What is said of benign keys, and how wide.
    pub const BENIGN: [(&str, usize); 6] = [
        ("keys", 8),
        ("refused", 8),
        ("requests", 12),
        ("refused", 10),
        ("in outage", 10),
        ("high/key-day", 14),
    ];
}

impl From<&Score> for Table {
    fn from(score: &Score) -> Self {
        let mut attacks: Vec<Row> = score.attacks.iter().map(|(name, of)| attack(name, of, false)).collect();
        attacks.push(attack("all attacks", &score.all_attacks(), true));
        for tellable in [Tellable::Yes, Tellable::Hard, Tellable::No] {
            let those = score.that_are(tellable);
            if those.attacks > 0 {
                attacks.push(attack(&format!("an analyst could: {}", tellable.word()), &those, true));
            }
        }
        let mut benign: Vec<Row> = score.benign.iter().map(|(name, of)| of_benign(name, of, false)).collect();
        benign.push(of_benign("all benign keys", &score.all_benign(), true));
        if score.benign_that_are(true).keys > 0 {
            benign.push(of_benign("of these not loud", &score.benign_that_are(false), true));
        }
        let victims = score.victims.iter().map(|(name, of)| attack(name, of, false)).collect();
        Self { attacks, victims, missed: missed(score), benign }
    }
}

fn missed(score: &Score) -> Vec<String> {
    let mut counts = BTreeMap::<_, u32>::new();
    for missed in &score.missed {
        *counts.entry((missed.attack, missed.archetype)).or_default() += 1;
    }
    counts.iter().map(|((kind, victim), count)| format!("{kind} on {victim} {count}")).collect()
}

fn attack(name: &str, score: &AttackScore, is_sum: bool) -> Row {
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let cells = vec![
        score.attacks.to_string(),
        score.found.to_string(),
        percent(score.recall()),
        score.median_delay.map_or_else(String::new, duration),
        score.median_requests.map_or_else(String::new, |requests| requests.to_string()),
        percent(score.after.share()),
        percent(score.after.cost_share()),
        percent(score.owners_refused_share()),
    ];
    Row { name: name.to_owned(), cells, findings: kinds(&score.by), is_sum }
}

fn of_benign(name: &str, score: &BenignScore, is_sum: bool) -> Row {
    let cells = vec![
        score.keys.to_string(),
        score.keys_refused.to_string(),
        score.requests.to_string(),
        format!("{:.3}%", score.requests_refused_share() * 100.0),
        score.refused_in_outage.to_string(),
        format!("{:.4}", score.findings_per_key_day()),
    ];
    Row { name: name.to_owned(), cells, findings: kinds(&score.findings), is_sum }
}

fn kinds<N: fmt::Display>(counts: &BTreeMap<AnomalyKind, N>) -> String {
    let named = counts.iter().map(|(kind, count)| format!("{} {count}", kind.name()));
    named.collect::<Vec<_>>().join(", ")
}

fn duration(time: Millis) -> String {
    match time {
        t if t < MINUTE => format!("{:.1} s", t as f64 / SECOND as f64),
        t if t < HOUR => format!("{:.1} min", t as f64 / MINUTE as f64),
        t => format!("{:.1} h", t as f64 / HOUR as f64),
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Table::from(self).fmt(f)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_rows(f, "attack", "found by", &Self::ATTACKS, &self.attacks)?;
        writeln!(f)?;
        write_rows(f, "attacked keys", "found by", &Self::ATTACKS, &self.victims)?;
        if !self.missed.is_empty() {
            writeln!(f, "missed: {}", self.missed.join(", "))?;
        }
        writeln!(f)?;
        write_rows(f, "benign keys", "high findings", &Self::BENIGN, &self.benign)
    }
}

fn write_rows(
    f: &mut fmt::Formatter<'_>,
    of: &str,
    findings: &str,
    columns: &[(&str, usize)],
    rows: &[Row],
) -> fmt::Result {
    write!(f, "{of:<24}")?;
    columns.iter().try_for_each(|(column, width)| write!(f, "{column:>width$}"))?;
    writeln!(f, "  {findings}")?;
    for row in rows {
        write!(f, "{:<24}", row.name)?;
        for (cell, (_, width)) in row.cells.iter().zip(columns) {
            write!(f, "{cell:>width$}")?;
        }
        let gap = if row.findings.is_empty() { "" } else { "  " };
        writeln!(f, "{gap}{}", row.findings)?;
    }
    Ok(())
}
