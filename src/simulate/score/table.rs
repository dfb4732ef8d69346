//! The score as a table for people.

use std::{collections::BTreeMap, fmt};

use super::{AttackScore, BenignScore, Score};
use crate::domain::{HOUR, MINUTE, Millis, SECOND, finding::AnomalyKind};

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24}{:>8}{:>8}{:>8}{:>12}  found by",
            "attack", "number", "found", "recall", "median"
        )?;
        for (name, kind) in &self.attacks {
            attack(f, name, kind)?;
        }
        attack(f, "all attacks", &self.all_attacks())?;
        writeln!(f)?;
        let heading = ["keys", "refused", "requests", "refused", "high/key-day"];
        write!(f, "{:<24}", "benign keys")?;
        for (column, width) in heading.iter().zip([8, 8, 12, 10, 14]) {
            write!(f, "{column:>width$}")?;
        }
        writeln!(f, "  high findings")?;
        for (name, archetype) in &self.benign {
            benign(f, name, archetype)?;
        }
        benign(f, "all benign keys", &self.all_benign())
    }
}

fn attack(f: &mut fmt::Formatter<'_>, name: &str, score: &AttackScore) -> fmt::Result {
    let recall = format!("{:.1}%", score.recall() * 100.0);
    let delay = score.median_delay.map_or_else(String::new, duration);
    write!(f, "{name:<24}{:>8}{:>8}{recall:>8}{delay:>12}", score.attacks, score.found)?;
    kinds(f, &score.by)
}

fn benign(f: &mut fmt::Formatter<'_>, name: &str, score: &BenignScore) -> fmt::Result {
    let refused = format!("{:.3}%", score.requests_refused_share() * 100.0);
    write!(f, "{name:<24}{:>8}{:>8}{:>12}{refused:>10}", score.keys, score.keys_refused, score.requests)?;
    write!(f, "{:>14.4}", score.findings_per_key_day())?;
    kinds(f, &score.findings)
}

fn kinds<N: fmt::Display>(f: &mut fmt::Formatter<'_>, counts: &BTreeMap<AnomalyKind, N>) -> fmt::Result {
    for (index, (kind, count)) in counts.iter().enumerate() {
        let separator = if index == 0 { "  " } else { ", " };
        write!(f, "{separator}{} {count}", kind.name())?;
    }
    writeln!(f)
}

fn duration(time: Millis) -> String {
    match time {
        t if t < MINUTE => format!("{:.1} s", t as f64 / SECOND as f64),
        t if t < HOUR => format!("{:.1} min", t as f64 / MINUTE as f64),
        t => format!("{:.1} h", t as f64 / HOUR as f64),
    }
}
