//! Whether each detector is worth its noise: what it found, and what analysts say of that.

use std::collections::BTreeMap;

use super::figures::Noise;
use crate::{
    domain::{
        DAY, Millis,
        event::{EventType, FeedbackGiven, TallyBy, Verdict},
        finding::AnomalyKind,
    },
    engine::{Engine, EventSummary},
    store::{EventQuery, StoreError},
};

/// Words of analysts that are looked at, the newest first.
const MOST_WORDS: usize = 1_000;

/// What detectors found in a span.
#[derive(Debug)]
pub struct NoiseTable {
    /// A row for each type of finding.
    pub rows: Vec<Noise>,
    /// How many events analysts said something of.
    pub words: usize,
    /// Whether the whole log has been read.
    pub is_complete: bool,
}

/// What each detector found in the span from the first to before the second moment, and what was said of it since.
///
/// # Errors
/// When the store does not answer.
pub async fn noise(engine: &Engine, span: (Millis, Millis)) -> Result<NoiseTable, StoreError> {
    let counts = engine.event_counts();
    let (counts, words) =
        tokio::try_join!(counts.summary(TallyBy::Type, span, DAY), last_words(engine, span.0))?;
    let rows = rows(engine, &counts, &words);
    Ok(NoiseTable { rows, words: words.len(), is_complete: counts.is_complete })
}

/// A row for each type of finding, in the order of the types.
pub(super) fn rows(
    engine: &Engine,
    counts: &EventSummary,
    words: &BTreeMap<String, FeedbackGiven>,
) -> Vec<Noise> {
    let mut findings: BTreeMap<&str, u64> = BTreeMap::new();
    for ((_, name), count) in &counts.rows {
        *findings.entry(name.as_deref().unwrap_or_default()).or_default() += count;
    }
    let policy = engine.policy();
    let row = |kind: &AnomalyKind| {
        let of = |verdict: Verdict| {
            let given = words.values().filter(|word| word.verdict == verdict && is_about(word, *kind));
            given.count() as u64
        };
        Noise {
            kind: *kind,
            detector: kind.detector().to_owned(),
            mode: policy.policy.mode(*kind),
            findings: findings.get(kind.name()).copied().unwrap_or(0),
            benign: of(Verdict::Benign),
            attack: of(Verdict::Attack),
        }
    };
    AnomalyKind::ALL.iter().map(row).collect()
}

/// The last word on each event of which something was said since a moment, by the id of the event.
pub(super) async fn last_words(
    engine: &Engine,
    since: Millis,
) -> Result<BTreeMap<String, FeedbackGiven>, StoreError> {
    let query = EventQuery {
        kind: Some(EventType::FeedbackGiven),
        since: Some(since),
        limit: MOST_WORDS,
        ..EventQuery::default()
    };
    let given = engine.store().events(&query).await?;
    let mut last = BTreeMap::new();
    for word in given.items.iter().filter_map(|event| event.read::<FeedbackGiven>()) {
        last.entry(word.event.clone()).or_insert(word);
    }
    Ok(last)
}

/// Whether a word is about a finding of a detector, or about a ban that one led to.
fn is_about(word: &FeedbackGiven, kind: AnomalyKind) -> bool {
    word.judged.kind == EventType::Anomaly(kind) || word.judged.detector.as_deref() == Some(kind.detector())
}
