//! Bans that began in a span, each followed to its end.

use std::collections::{BTreeMap, HashMap};

use super::figures::{Ban, Outcome};
use crate::{
    domain::{
        Millis,
        event::{Event, EventType, FeedbackGiven, StandingChanged, Verdict, format_millis},
        subject::Subject,
    },
    engine::Engine,
    store::{EventQuery, StoreError},
};

/// Bans that are listed at most, and ends of bans that are looked at.
const MOST: usize = 1_000;
/// Events that are asked for at a time.
const PAGE: usize = 1_000;

/// Bans that began from the first to before the second moment, the newest first; and whether there were more.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn bans(
    engine: &Engine,
    (from, to): (Millis, Millis),
    words: &BTreeMap<String, FeedbackGiven>,
) -> Result<(Vec<Ban>, bool), StoreError> {
    let begun = |kind| events(engine, kind, (from, to));
    // What ended them may have come later.
    let ended = |kind| events(engine, kind, (from, engine.now() + 1));
    let (temporary, permanent, lifted, expired) = tokio::try_join!(
        begun(EventType::TemporaryBan),
        begun(EventType::PermanentBan),
        ended(EventType::BanLifted),
        ended(EventType::BanExpired),
    )?;
    let is_more = temporary.1 || permanent.1;
    let begun: Vec<Event> = [temporary.0, permanent.0].concat();
    let ends: Vec<Event> = [lifted.0, expired.0].concat();
    let mut bans = follow(&begun, &ends, engine.now(), words);
    bans.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.subject.cmp(&b.subject)));
    let is_more = is_more || bans.len() > MOST;
    bans.truncate(MOST);
    Ok((bans, is_more))
}

async fn events(
    engine: &Engine,
    kind: EventType,
    (since, until): (Millis, Millis),
) -> Result<(Vec<Event>, bool), StoreError> {
    let mut query = EventQuery {
        kind: Some(kind),
        since: Some(since),
        until: Some(until),
        limit: PAGE,
        ..EventQuery::default()
    };
    let mut found = Vec::new();
    loop {
        let page = engine.store().events(&query).await?;
        found.extend(page.items);
        query.cursor = page.next;
        if query.cursor.is_none() || found.len() >= MOST {
            return Ok((found, query.cursor.is_some()));
        }
    }
}

/// The first thing that happened to the subject of each ban after it began tells how it ended.
fn follow(begun: &[Event], ends: &[Event], now: Millis, words: &BTreeMap<String, FeedbackGiven>) -> Vec<Ban> {
    let mut course: HashMap<&Subject, Vec<(Millis, Outcome)>> = HashMap::new();
    let replaced = begun.iter().map(|event| (event, Outcome::Replaced));
    let ended = ends.iter().map(|event| (event, outcome(event.kind)));
    for (event, outcome) in replaced.chain(ended) {
        if let Some(subject) = &event.subject {
            course.entry(subject).or_default().push((event.time, outcome));
        }
    }
    let ban = |event: &Event| {
        let (subject, changed) = (event.subject.as_ref()?, event.read::<StandingChanged>()?);
        // It may be lifted in the millisecond in which it began.
        let is_later = |at: Millis, outcome: Outcome| match outcome {
            Outcome::Replaced => at > event.time,
            _ => at >= event.time,
        };
        let later = course.get(subject)?.iter().filter(|(at, outcome)| is_later(*at, *outcome));
        let end = later.min_by_key(|(at, _)| *at).copied();
        // One whose end is not in the log any more has run out all the same.
        let ran_out = changed.hold.until.filter(|until| *until <= now).map(|until| (until, Outcome::Expired));
        let end = end.or(ran_out);
        let cause = changed.cause.map(|cause| cause.anomaly.name().to_owned());
        Some(Ban {
            subject: subject.clone(),
            since: format_millis(event.time),
            until: changed.hold.until.map(format_millis),
            by: event.detector.clone().unwrap_or_default(),
            reason: changed.reason.or(cause).unwrap_or_default(),
            observed: event.would.is_some(),
            outcome: end.map_or(Outcome::Holds, |(_, outcome)| outcome),
            ended: end.map(|(at, _)| format_millis(at)),
            verdict: verdict(event, words),
        })
    };
    begun.iter().filter_map(ban).collect()
}

fn outcome(kind: EventType) -> Outcome {
    if kind == EventType::BanExpired { Outcome::Expired } else { Outcome::Lifted }
}

/// What was said of the ban, else of what the same request led to.
fn verdict(ban: &Event, words: &BTreeMap<String, FeedbackGiven>) -> Option<Verdict> {
    let of_request = || {
        let is_same = |word: &&FeedbackGiven| {
            word.judged.subject == ban.subject && word.judged.request_id == ban.request_id
        };
        ban.request_id.as_ref().and_then(|_| words.values().find(is_same))
    };
    words.get(&ban.id).or_else(of_request).map(|word| word.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{MINUTE, actor::Actor, finding::Severity, standing::Standing};

    fn ban(subject: &str, at: Millis, until: Option<Millis>) -> Event {
        let standing = Standing { since: at, until, ..Standing::default() };
        let details = StandingChanged::by_person(&standing, "leaked", &Actor::local());
        let event = Event::new(at, EventType::TemporaryBan, Severity::High, Subject::parse(subject).ok());
        Event { id: format!("{subject}-{at}"), ..event }.with(&details)
    }

    fn end(subject: &str, at: Millis, kind: EventType) -> Event {
        Event::new(at, kind, Severity::Low, Subject::parse(subject).ok())
    }

    #[test]
    fn a_ban_ends_by_what_came_first_after_it() {
        let begun = [
            ban("key:a", MINUTE, Some(61 * MINUTE)),
            ban("key:a", 5 * MINUTE, None),
            ban("key:b", MINUTE, Some(3 * MINUTE)),
            ban("key:c", MINUTE, Some(2 * MINUTE)),
            ban("key:d", MINUTE, None),
            ban("key:e", MINUTE, None),
        ];
        let ends = [
            end("key:b", 2 * MINUTE, EventType::BanLifted),
            end("key:b", 3 * MINUTE, EventType::BanExpired),
            end("key:d", 0, EventType::BanLifted),
            end("key:e", MINUTE, EventType::BanLifted),
        ];
        let found = follow(&begun, &ends, 10 * MINUTE, &BTreeMap::new());
        let outcomes: Vec<_> = found.iter().map(|ban| (ban.outcome, ban.ended.clone())).collect();
        let at = |minutes| Some(format_millis(minutes * MINUTE));
        let wanted = [
            (Outcome::Replaced, at(5)),
            (Outcome::Holds, None),
            (Outcome::Lifted, at(2)),
            (Outcome::Expired, at(2)),
            (Outcome::Holds, None),
            (Outcome::Lifted, at(1)),
        ];
        assert_eq!(outcomes, wanted);
        assert!(found.iter().all(|ban| ban.reason == "leaked"));
    }

    #[test]
    fn a_word_about_a_ban_or_about_the_finding_of_the_same_request_is_its_verdict() {
        let (judged, mut of_request) = (ban("key:a", MINUTE, None), ban("key:b", MINUTE, None));
        of_request.request_id = Some("r-1".to_owned());
        let finding = Event {
            id: "f".to_owned(),
            request_id: Some("r-1".to_owned()),
            ..Event::new(MINUTE, EventType::HighSeverityAnomaly, Severity::High, of_request.subject.clone())
        };
        let word = |event: &Event, verdict| {
            let word = FeedbackGiven::new(event.clone(), verdict, "", &Actor::local());
            (word.event.clone(), word)
        };
        let words = BTreeMap::from([word(&judged, Verdict::Attack), word(&finding, Verdict::Benign)]);
        let silent = ban("key:c", MINUTE, None);
        let found = follow(&[judged, of_request, silent], &[], 2 * MINUTE, &words);
        let verdicts: Vec<_> = found.iter().map(|ban| ban.verdict).collect();
        assert_eq!(verdicts, [Some(Verdict::Attack), Some(Verdict::Benign), None]);
    }
}
