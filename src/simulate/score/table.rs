//! The score as a table for people.

use std::{collections::BTreeMap, fmt};

use super::{AttackScore, BenignScore, Score, Tellable};
use crate::domain::{HOUR, MINUTE, Millis, SECOND, finding::AnomalyKind};

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        attacks(f, "attack", &self.attacks)?;
        attack(f, "all attacks", &self.all_attacks())?;
        for tellable in [Tellable::Yes, Tellable::Hard, Tellable::No] {
            let those = self.that_are(tellable);
            if those.attacks > 0 {
                attack(f, &format!("an analyst could: {}", tellable.word()), &those)?;
            }
        }
        writeln!(f)?;
        attacks(f, "attacked keys", &self.victims)?;
        if !self.missed.is_empty() {
            let mut counts = BTreeMap::<_, u32>::new();
            for missed in &self.missed {
                *counts.entry((missed.attack, missed.archetype)).or_default() += 1;
            }
            let missed = counts.iter().map(|((kind, victim), count)| format!("{kind} on {victim} {count}"));
            writeln!(f, "missed: {}", missed.collect::<Vec<_>>().join(", "))?;
        }
        writeln!(f)?;
        let heading = ["keys", "refused", "requests", "refused", "in outage", "high/key-day"];
        write!(f, "{:<24}", "benign keys")?;
        for (column, width) in heading.iter().zip([8, 8, 12, 10, 10, 14]) {
            write!(f, "{column:>width$}")?;
        }
        writeln!(f, "  high findings")?;
        for (name, archetype) in &self.benign {
            benign(f, name, archetype)?;
        }
        benign(f, "all benign keys", &self.all_benign())?;
        if self.benign_that_are(true).keys > 0 {
            benign(f, "of these not loud", &self.benign_that_are(false))?;
        }
        Ok(())
    }
}

/// What is said of attacks, and how wide: how many there were and were found, after which time and how many requests;
/// of what they did after that, the share of requests and of cost that was let through; of their victims' own requests
/// meanwhile, the share that was refused.
const COLUMNS: [(&str, usize); 8] = [
    ("number", 8),
    ("found", 8),
    ("recall", 8),
    ("median", 12),
    ("requests", 10),
    ("through", 9),
    ("cost", 8),
    ("owner", 8),
];

fn attacks(
    f: &mut fmt::Formatter<'_>,
    heading: &str,
    scores: &BTreeMap<&'static str, AttackScore>,
) -> fmt::Result {
    write!(f, "{heading:<24}")?;
    for (column, width) in COLUMNS.iter() {
        write!(f, "{column:>width$}")?;
    }
    writeln!(f, "  found by")?;
    scores.iter().try_for_each(|(name, score)| attack(f, name, score))
}

fn attack(f: &mut fmt::Formatter<'_>, name: &str, score: &AttackScore) -> fmt::Result {
    let recall = format!("{:.1}%", score.recall() * 100.0);
    let delay = score.median_delay.map_or_else(String::new, duration);
    let requests = score.median_requests.map_or_else(String::new, |requests| requests.to_string());
    write!(f, "{name:<24}{:>8}{:>8}{recall:>8}{delay:>12}{requests:>10}", score.attacks, score.found)?;
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let owner = score.owners_refused_share();
    let (through, cost) = (percent(score.after.share()), percent(score.after.cost_share()));
    write!(f, "{through:>9}{cost:>8}{:>8}", percent(owner))?;
    kinds(f, &score.by)
}

fn benign(f: &mut fmt::Formatter<'_>, name: &str, score: &BenignScore) -> fmt::Result {
    let refused = format!("{:.3}%", score.requests_refused_share() * 100.0);
    write!(f, "{name:<24}{:>8}{:>8}{:>12}{refused:>10}", score.keys, score.keys_refused, score.requests)?;
    write!(f, "{:>10}{:>14.4}", score.refused_in_outage, score.findings_per_key_day())?;
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
