//! What the detectors are to reach on every run that is large enough to tell.

use super::{AttackScore, Score, Tellable};
use crate::domain::{MINUTE, Millis};

/// Share of all attacks that is found at least.
const RECALL: f64 = 0.98;
/// Share of the attacks of each kind.
const RECALL_OF_A_KIND: f64 = 0.9;
/// Kinds of which half are found within a minute, and within half an hour.
const WITHIN_A_MINUTE: &[&str] = &["weekend_burst", "brute_force", "endpoint_scan", "stolen_key_far"];
const WITHIN_HALF_AN_HOUR: &[&str] = &["stolen_key_slow", "cost_spike"];
/// Kinds of which half are found by their third request.
const WITHIN_THREE_REQUESTS: &[&str] = &["token_exhaustion"];
/// Share of the benign keys of which any request is refused, at most.
const KEYS_REFUSED: f64 = 0.005;
/// High or critical findings per benign key and day, at most.
const FINDINGS_PER_KEY_DAY: f64 = 0.01;

/// A bar with what a run reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// Whether the run reaches it.
    pub is_met: bool,
    /// What was seen and what is the bar, in words.
    pub words: String,
}

/// The words of those bars that a run does not reach.
pub fn missed(bars: Vec<Bar>) -> Vec<String> {
    bars.into_iter().filter(|bar| !bar.is_met).map(|bar| bar.words).collect()
}

/// What tells nothing: a run without attacks, or without benign keys. Such a run reaches none of their bars.
fn untellable(score: &Score) -> impl Iterator<Item = Bar> {
    let tells = [
        (score.all_attacks().attacks, "there are no attacks to find"),
        (score.all_benign().keys, "there are no benign keys to leave in peace"),
    ];
    let of = |(_, words): (u32, &str)| Bar { is_met: false, words: words.to_owned() };
    tells.into_iter().filter(|(count, _)| *count == 0).map(of)
}

/// The bars of the first exam.
pub fn bars(score: &Score) -> Vec<Bar> {
    let mut bars: Vec<Bar> = untellable(score).collect();
    let mut bar = |is_met: bool, words: String| bars.push(Bar { is_met, words });
    let all = score.all_attacks();
    bar(all.recall() >= RECALL, recall("all attacks", &all, RECALL));
    for (name, kind) in &score.attacks {
        bar(kind.recall() >= RECALL_OF_A_KIND, recall(name, kind, RECALL_OF_A_KIND));
    }
    let named =
        |names: &'static [&str]| names.iter().filter_map(|name| Some((*name, score.attacks.get(name)?)));
    let limits = [(WITHIN_A_MINUTE, MINUTE), (WITHIN_HALF_AN_HOUR, 30 * MINUTE)];
    for (names, limit) in limits {
        for (name, kind) in named(names) {
            bar(kind.median_delay.is_some_and(|delay| delay <= limit), delay(name, kind, limit));
        }
    }
    for (name, kind) in named(WITHIN_THREE_REQUESTS) {
        let requests = kind.median_requests.unwrap_or(u32::MAX);
        let words =
            format!("{name}: the median attack is found by its request {requests}, at most 3 is the bar");
        bar(requests <= 3, words);
    }
    let benign = score.all_benign();
    bar(
        benign.keys_refused_share() <= KEYS_REFUSED,
        format!(
            "benign keys: {} of {} were refused ({:.2}%), at most {:.1}% is the bar",
            benign.keys_refused,
            benign.keys,
            benign.keys_refused_share() * 100.0,
            KEYS_REFUSED * 100.0
        ),
    );
    bar(
        benign.findings_per_key_day() <= FINDINGS_PER_KEY_DAY,
        format!(
            "benign keys: {:.4} high or critical findings per key-day, at most {FINDINGS_PER_KEY_DAY} is the bar",
            benign.findings_per_key_day()
        ),
    );
    bar(
        benign.refused_in_outage == 0,
        format!(
            "benign keys: {} requests refused while the provider failed, 0 is the bar",
            benign.refused_in_outage
        ),
    );
    bars
}

/// Share that is found of the attacks of the second exam that an analyst could tell, and of those that are hard to.
const RECALL_OF_THE_TELLABLE: f64 = 0.95;
const RECALL_OF_THE_HARD: f64 = 0.7;
/// Share of the requests of an attacked key's owner, since the attack began, that is refused at most.
const OWNERS_REFUSED: f64 = 0.01;
/// Share of an attack's requests that is let through after it was found, at most; and of their cost.
const LET_THROUGH: f64 = 0.15;
const COST_LET_THROUGH: f64 = 0.05;

/// The bars of the second exam. Loud keys count for refusals and not for findings.
pub fn bars_of_second(score: &Score) -> Vec<Bar> {
    let mut bars: Vec<Bar> = untellable(score).collect();
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let (all, benign) = (score.all_attacks(), score.all_benign());
    let at_least = |what: &str, seen: f64, bar: f64| Bar {
        is_met: seen >= bar,
        words: format!("{what}: {}, at least {} is the bar", percent(seen), percent(bar)),
    };
    let at_most = |what: &str, seen: f64, bar: f64| Bar {
        is_met: seen <= bar,
        words: format!("{what}: {}, at most {} is the bar", percent(seen), percent(bar)),
    };
    let findings = score.benign_that_are(false).findings_per_key_day();
    let tellable = score.that_are(Tellable::Yes).recall();
    let hard = score.that_are(Tellable::Hard).recall();
    bars.extend([
        at_least("found of what can be told", tellable, RECALL_OF_THE_TELLABLE),
        at_least("found of what is hard to tell", hard, RECALL_OF_THE_HARD),
        at_most("requests let through", all.after.share(), LET_THROUGH),
        at_most("cost let through", all.after.cost_share(), COST_LET_THROUGH),
        at_most("requests of attacked owners refused", all.owners_refused_share(), OWNERS_REFUSED),
        at_most("benign keys refused", benign.keys_refused_share(), KEYS_REFUSED),
        Bar {
            is_met: findings <= FINDINGS_PER_KEY_DAY,
            words: format!(
                "high findings per key-day: {findings:.4}, at most {FINDINGS_PER_KEY_DAY} is the bar"
            ),
        },
    ]);
    bars
}

fn recall(name: &str, score: &AttackScore, least: f64) -> String {
    format!(
        "{name}: {} of {} found ({:.1}%), at least {:.0}% is the bar",
        score.found,
        score.attacks,
        score.recall() * 100.0,
        least * 100.0
    )
}

fn delay(name: &str, score: &AttackScore, limit: Millis) -> String {
    let minutes = |time: Millis| time as f64 / MINUTE as f64;
    let took =
        score.median_delay.map_or_else(|| "never".to_owned(), |t| format!("after {:.1} min", minutes(t)));
    format!("{name}: the median attack is found {took}, at most {} min is the bar", minutes(limit))
}
