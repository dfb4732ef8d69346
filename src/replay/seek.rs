//! One request of recorded traffic, looked for and explained: all before it is decided as ever, so that it meets the
//! engine as it would have.

use std::io::BufRead;

use super::{Lines, Replay, ReplayError};
use crate::{
    domain::record::Record,
    engine::Explanation,
    explain::{Located, Met},
    intake::InputError,
};

/// Which request is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The first with this id, of this key or of any.
    Id {
        /// The id of the request that is sought.
        request_id: String,
        /// The public id of its key.
        key_id: Option<String>,
    },
    /// The one on this line, from 1.
    Line(u64),
}

/// The request that was sought and found.
#[derive(Debug)]
pub struct Sought {
    /// The record of the request.
    pub record: Record,
    /// Where in the world it is from.
    pub located: Located,
    /// Why it was decided as it was.
    pub explained: Explanation,
}

/// There is no such request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// How many lines were read.
    pub lines: u64,
    /// How many of them are no records.
    pub bad_lines: u64,
    /// Requests with the same id, of other keys.
    pub others: Vec<Met>,
    /// What is wrong with the line that was asked for.
    pub bad: Option<String>,
}

impl Wanted {
    /// Whether the id is the one looked for, whatever the key.
    fn has_id(&self, record: &Record) -> bool {
        matches!(self, Self::Id { request_id, .. } if **request_id == *record.request_id)
    }

    fn is(&self, record: &Record, line: u64) -> bool {
        match self {
            Self::Id { key_id, .. } => {
                self.has_id(record) && key_id.as_ref().is_none_or(|key_id| **key_id == *record.key_id)
            }
            Self::Line(wanted) => *wanted == line,
        }
    }

    /// Whether a line can hold the id: most need not be parsed to see that they do not.
    fn may_be_in(&self, line: &[u8]) -> bool {
        let Self::Id { request_id, .. } = self else { return false };
        std::str::from_utf8(line).is_ok_and(|text| text.contains(request_id))
    }
}

/// What is wrong with a line, with its fields.
fn message(error: &InputError) -> String {
    let InputError::Fields(fields) = error else { return error.to_string() };
    fields.iter().map(|field| format!("{} {}", field.pointer, field.detail)).collect::<Vec<_>>().join("; ")
}

impl Replay {
    /// Decides records up to the one that is wanted, and explains that. `progress` is given the bytes of each line that
    /// is read.
    ///
    /// # Errors
    /// When reading fails.
    pub async fn explain(
        &mut self,
        input: impl BufRead,
        wanted: &Wanted,
        progress: impl FnMut(u64),
    ) -> Result<Result<Sought, Missed>, ReplayError> {
        let mut missed = Missed::default();
        let mut sought: Option<Sought> = None;
        let mut lines = Lines::new(input, progress);
        while let Some(line) = lines.next()? {
            missed.lines += 1;
            let number = missed.lines;
            if sought.is_some() && !line.as_ref().is_ok_and(|text| wanted.may_be_in(text)) {
                continue;
            }
            let is_blank = line.as_ref().is_ok_and(|text| text.is_empty());
            match line.and_then(|text| self.read(text)) {
                Ok(record) if sought.is_none() && wanted.is(&record, number) => {
                    let explained = self.engine.explain(&record, self.now).await?;
                    let also_at = std::mem::take(&mut missed.others);
                    sought = Some(Sought { record, located: Located { line: number, also_at }, explained });
                    if matches!(wanted, Wanted::Line(_)) {
                        break;
                    }
                }
                Ok(record) => {
                    if wanted.has_id(&record) {
                        let met = Met { line: number, key_id: record.key_id.to_string() };
                        sought
                            .as_mut()
                            .map_or(&mut missed.others, |sought| &mut sought.located.also_at)
                            .push(met);
                    }
                    if sought.is_none() {
                        self.decide(&record).await;
                    }
                }
                Err(_) if is_blank && *wanted != Wanted::Line(number) => {}
                Err(error) => {
                    missed.bad_lines += 1;
                    if *wanted == Wanted::Line(number) {
                        missed.bad = Some(message(&error));
                        break;
                    }
                }
            }
        }
        Ok(sought.ok_or(missed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        answer::Answer,
        config::{Config, DEFAULT_TOML},
        domain::{actor::Actor, decision::Reason, finding::AnomalyKind},
        engine::{Course, Learned},
        explain::Account,
        geo::Geo,
        intake::Peppers,
        simulate::{Plan, generate},
    };

    const SINGAPORE: &str = "203.0.113.7";
    const BUCHAREST: &str = "198.51.100.7";

    async fn replay() -> Replay {
        let config: Config = toml::from_str(&DEFAULT_TOML.replace("\"balanced\"", "\"strict\"")).unwrap();
        let peppers = Peppers::parse("0123456789abcdef0123").unwrap();
        Replay::new(&config, Arc::new(Geo::open(&[], true).unwrap()), peppers).await.unwrap()
    }

    /// A request of `key` at a minute after nine.
    fn request(id: &str, key: &str, minute: u32, from: &str) -> String {
        let timestamp = format!("2026-03-02T09:{minute:02}:00Z");
        json!({
            "request_id": id, "key_id": key, "endpoint": "/v1/chat/completions", "tokens_used": 10,
            "source_ip": from, "timestamp": timestamp,
        })
        .to_string()
    }

    async fn seek(lines: &[String], wanted: Wanted) -> Result<Sought, Missed> {
        let input = lines.join("\n");
        replay().await.explain(input.as_bytes(), &wanted, |_| ()).await.unwrap()
    }

    fn id(request_id: &str) -> Wanted {
        Wanted::Id { request_id: request_id.to_owned(), key_id: None }
    }

    fn stolen() -> Vec<String> {
        vec![
            request("r-1", "a", 0, SINGAPORE),
            request("r-2", "a", 30, BUCHAREST),
            request("r-3", "a", 40, SINGAPORE),
        ]
    }

    #[tokio::test]
    async fn a_ban_is_explained_with_the_finding_that_led_to_it() {
        let sought = seek(&stolen(), id("r-2")).await.unwrap();
        let explained = &sought.explained;
        assert_eq!((sought.located.line, &explained.course), (2, &Course::Judged));
        assert_eq!(explained.decision.reason, Some(Reason::CriticalAnomalyDetected));
        assert_eq!(explained.reports.len(), AnomalyKind::ALL.len());
        assert_eq!((explained.climbs.len(), explained.learned), (1, Learned::Nothing));
        let account = serde_json::to_value(Account::of(&sought.record, explained, &sought.located)).unwrap();
        let summary = account["summary"].as_str().unwrap();
        assert!(
            summary.starts_with("Refused, and the key banned until 10:00 UTC (30 minutes), for impossible")
        );
        assert_eq!(account["ladder"][0]["strikes_after"], 1.0);
        assert_eq!(account["windows"][0]["token_limit"], 1_000_000);
    }

    #[tokio::test]
    async fn a_request_that_a_ban_refuses_names_the_request_that_led_to_it() {
        let explained = seek(&stolen(), id("r-3")).await.unwrap().explained;
        let Course::Banned(ban) = &explained.course else { panic!("{:?}", explained.course) };
        assert_eq!(ban.detail.request_id.as_deref(), Some("r-2"));
        assert!(explained.reports.is_empty());
        assert_eq!(explained.profile.requests, 1, "what was known is shown all the same");
    }

    #[tokio::test]
    async fn of_several_with_one_id_the_first_is_explained_or_that_of_the_key() {
        let mut lines = stolen();
        lines.insert(0, request("r-2", "b", 0, SINGAPORE));
        let first = seek(&lines, id("r-2")).await.unwrap();
        assert_eq!((first.located.line, &*first.record.key_id), (1, "b"));
        assert_eq!(first.located.also_at, [Met { line: 3, key_id: "a".to_owned() }]);
        let of = |key: &str| Wanted::Id { request_id: "r-2".to_owned(), key_id: Some(key.to_owned()) };
        let second = seek(&lines, of("a")).await.unwrap();
        assert_eq!(
            second.located,
            Located { line: 3, also_at: vec![Met { line: 1, key_id: "b".to_owned() }] }
        );
        let missed = seek(&lines, of("c")).await.unwrap_err();
        assert_eq!((missed.lines, missed.others.len()), (4, 2));
    }

    #[tokio::test]
    async fn a_retry_is_distinguished_from_a_request_and_a_bad_line_from_none() {
        let mut lines = stolen();
        lines.splice(1..1, [request("r-1", "a", 0, SINGAPORE), "{".to_owned()]);
        let retry = seek(&lines, Wanted::Line(2)).await.unwrap().explained;
        assert_eq!((retry.course, retry.decision.allowed), (Course::Repeated, true));
        assert!(seek(&lines, Wanted::Line(3)).await.unwrap_err().bad.is_some());
        let missed = seek(&lines, Wanted::Line(9)).await.unwrap_err();
        assert_eq!((missed.lines, missed.bad_lines, missed.bad), (5, 1, None));
    }

    #[tokio::test]
    async fn what_detectors_leave_alone_says_so() {
        let mut replay = replay().await;
        let mut refused: Value = serde_json::from_str(&request("r-0", "a", 0, SINGAPORE)).unwrap();
        refused["refused_by"] = "keyward".into();
        let input = refused.to_string();
        let sought = replay.explain(input.as_bytes(), &id("r-0"), |_| ()).await.unwrap().unwrap();
        assert_eq!(sought.explained.course, Course::NotCounted);
        replay
            .engine()
            .policy_changes()
            .write_allowlist("key:a", json!({ "reason": "ours" }), &Actor::local(), 0)
            .await
            .unwrap();
        let input = request("r-1", "a", 1, SINGAPORE);
        let sought = replay.explain(input.as_bytes(), &id("r-1"), |_| ()).await.unwrap().unwrap();
        assert_eq!(sought.explained.course, Course::Allowlisted);
        assert_eq!(sought.explained.learned, Learned::Learned);
    }

    #[tokio::test]
    async fn explaining_decides_as_recording_does() {
        let plan = Plan { days: 2, keys_per_archetype: 1, attacks_per_kind: 1, ..Plan::THREE_WEEKS };
        let (mut recorded, mut explained) = (replay().await, replay().await);
        let mut findings = 0;
        for labelled in generate(&plan).step_by(4).take(4_000) {
            let line = serde_json::to_vec(&labelled.record).unwrap();
            let record = recorded.read(&line).unwrap();
            let decision = recorded.decide(&record).await.unwrap();
            let record = explained.read(&line).unwrap();
            let explanation = explained.engine.explain(&record, explained.now).await.unwrap();
            let answer = |decision| serde_json::to_value(Answer::from(decision)).unwrap();
            assert_eq!(answer(&decision), answer(&explanation.decision));
            let found = explanation.reports.iter().filter_map(|judged| judged.result.as_ref().ok());
            assert_eq!(found.collect::<Vec<_>>().len(), decision.anomalies.len());
            findings += decision.anomalies.len();
        }
        assert!(findings > 50, "{findings}");
    }
}
