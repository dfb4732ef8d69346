//! Plays a story through the production engine, on event time.

use std::{io::Write, sync::Arc};

use keyward::{
    config::{Config, Sources},
    domain::{DAY, Millis, actor::Actor, decision::Decision, subject::Subject},
    geo::Geo,
    intake::Peppers,
    replay::Replay,
    simulate::{Plan, WireRecord, archetypes, calendar::Span, random::Random},
};

use super::{
    format::{Generate, Scenario, Step},
    stage::{KEY, Stage},
    verdict,
};

/// What did not go as the file says.
pub(super) fn failures(file: &str, scenario: &Scenario) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut play = Play::new(&scenario.policy).await;
        let mut failures = Vec::new();
        if let Some(generate) = &scenario.generate {
            failures.extend(play.life(generate).await);
        }
        if let Some(key) = &scenario.key {
            let mut stage = Stage::new(file, key);
            let past = stage.history();
            failures.extend(verdict::past(&play.decide(&past).await));
            let mut last = past.last().map_or(0, |record| record.timestamp);
            for (index, step) in scenario.step.iter().enumerate() {
                let from = stage.time(&step.at, last);
                assert!(from >= last, "{file}: step {} is before the one before", index + 1);
                let told = play.step(&mut stage, step, from, &mut last).await;
                failures.extend(told.into_iter().map(|what| format!("step {}: {what}", index + 1)));
            }
        }
        failures
    })
}

struct Play(Replay);

impl Play {
    async fn new(policy: &toml::Table) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let settings = toml::Table::from_iter([("policy".to_owned(), toml::Value::Table(policy.clone()))]);
        file.write_all(settings.to_string().as_bytes()).unwrap();
        let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
        let config = Config::load(&sources).unwrap_or_else(|error| panic!("{error}"));
        let geo = Arc::new(Geo::open(&[], true).unwrap());
        let peppers = Peppers::parse("k1:scenarios keep no secret").unwrap();
        Self(Replay::new(&config, geo, peppers).await.unwrap())
    }

    async fn decide(&mut self, records: &[WireRecord]) -> Vec<Decision> {
        let mut decisions = Vec::with_capacity(records.len());
        for record in records {
            let record = self.0.read(&serde_json::to_vec(record).unwrap()).unwrap();
            decisions.push(self.0.decide(&record).await.unwrap());
        }
        decisions
    }

    /// A key of the simulator's, over its whole life.
    async fn life(&mut self, generate: &Generate) -> Vec<String> {
        let archetype = archetypes::named(&generate.archetype).expect("an archetype of the simulator");
        let from = Plan::THREE_WEEKS.start;
        let span = Span { from, to: from + generate.days * DAY };
        let mut random = Random::new(generate.seed).part(archetype.name, 0);
        let mut records = (archetype.live)(&mut random, span, 1.0).records;
        assert!(!records.is_empty());
        records.sort_by_key(|record| record.timestamp);
        for (record, id) in records.iter_mut().zip(1..) {
            record.request_id = id;
        }
        let decisions = self.decide(&records).await;
        generate.expect.as_ref().map(|expect| verdict::judge(expect, &decisions)).unwrap_or_default()
    }

    async fn step(
        &mut self,
        stage: &mut Stage<'_>,
        step: &Step,
        from: Millis,
        last: &mut Millis,
    ) -> Vec<String> {
        *last = from;
        if let Some(entry) = &step.allow {
            let body = serde_json::json!({ "reason": "by the story" });
            self.0
                .engine()
                .policy_changes()
                .write_allowlist(entry, body, &Actor::local(), from)
                .await
                .unwrap();
            return Vec::new();
        }
        if let Some(reason) = &step.lift {
            let lifted =
                self.0.engine().bans().lift(&Subject::key(KEY), reason, &Actor::local(), from).await.unwrap();
            return if lifted.is_some() { Vec::new() } else { vec!["there was no ban to lift".to_owned()] };
        }
        let requests = stage.requests(step, from);
        let decisions = self.decide(&requests).await;
        *last = requests.last().map_or(from, |record| record.timestamp);
        step.expect.as_ref().map(|expect| verdict::judge(expect, &decisions)).unwrap_or_default()
    }
}
