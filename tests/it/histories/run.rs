//! A history on one store: each step is made and answered, and limits, windows and usage are compared with the
//! oracle's.

use std::sync::Arc;

use keyward::{
    domain::{
        DAY, HOUR, MINUTE, Millis, SECOND,
        actor::Actor,
        calendar::format_millis,
        decision::Settlement,
        money::Usd,
        record::Record,
        registry::{Entry, KeyEntry, Project},
        reservation::{HoldTerms, ReservationChange, ReservationChanged, ReservationId},
        subject::Subject,
        usage::{Bucket, Rows, UsageQuery},
        window::Unit,
    },
    engine::Engine,
    geo::Geo,
    intake::{Intake, WireRecord, parse},
    store::Store,
};
use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::{Value, json};

use super::oracle::{Change, Held, Oracle, Used};
use crate::{
    store::support::START,
    support::{intake, limits_alone, options},
};

/// How many keys share the project.
pub(super) const KEYS: usize = 3;
/// What the project may use in a month: tokens, and nano-dollars.
const TOKENS: u64 = 2_000;
const NANOS: u64 = 3_000_000_000;

/// One step of a history.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Reserve {
        key: usize,
        tokens: u64,
        nanos: u64,
        lease: Option<Millis>,
        dispatched: bool,
    },
    Extend {
        which: usize,
        lease: Millis,
    },
    Dispatch {
        which: usize,
    },
    GiveBack {
        which: usize,
    },
    Settle {
        which: usize,
        tokens: u64,
        nanos: u64,
        how: How,
    },
    /// The last record, sent again.
    Again,
    Report {
        key: usize,
        tokens: u64,
        nanos: u64,
    },
    Ban {
        key: usize,
        lift: bool,
    },
    Expire {
        key: usize,
        renew: bool,
    },
    /// The background of some instance ends what is due; `counted`: it lives to have usage count it.
    End {
        counted: bool,
    },
    Kill,
    Pass(Millis),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Plain,
    /// It is stamped ten minutes ago.
    Late,
    /// It does not say what was used.
    WithoutUsage,
    /// Keyward refused the request that it reports.
    Refused,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = || 0..64_usize;
    let (key, tokens, nanos) = (|| 0..KEYS, || 0..600_u64, || 0..900_000_000_u64);
    let lease = || prop_oneof![SECOND..10 * SECOND, SECOND..HOUR];
    let how = prop_oneof![
        4 => Just(How::Plain),
        1 => Just(How::Late),
        1 => Just(How::WithoutUsage),
        1 => Just(How::Refused)
    ];
    let reserve = (key(), tokens(), nanos(), proptest::option::of(lease()), any::<bool>()).prop_map(
        |(key, tokens, nanos, lease, dispatched)| Step::Reserve { key, tokens, nanos, lease, dispatched },
    );
    let settle = (which(), tokens(), nanos(), how).prop_map(|(which, tokens, nanos, how)| Step::Settle {
        which,
        tokens,
        nanos,
        how,
    });
    let step = prop_oneof![
        8 => reserve,
        2 => (which(), lease()).prop_map(|(which, lease)| Step::Extend { which, lease }),
        3 => which().prop_map(|which| Step::Dispatch { which }),
        1 => which().prop_map(|which| Step::GiveBack { which }),
        6 => settle,
        1 => Just(Step::Again),
        1 => (key(), tokens(), nanos()).prop_map(|(key, tokens, nanos)| Step::Report { key, tokens, nanos }),
        1 => (key(), any::<bool>()).prop_map(|(key, lift)| Step::Ban { key, lift }),
        1 => (key(), any::<bool>()).prop_map(|(key, renew)| Step::Expire { key, renew }),
        3 => prop::bool::weighted(0.7).prop_map(|counted| Step::End { counted }),
        1 => Just(Step::Kill),
        4 => prop_oneof![8 => 0..30 * SECOND, 4 => 0..5 * MINUTE, 1 => 0..2 * HOUR, 1 => 0..DAY].prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 5..60)
}

/// The service over one store, the oracle, and the time.
pub(super) struct Run {
    store: Arc<dyn Store>,
    engine: Arc<Engine>,
    intake: Intake,
    oracle: Oracle,
    now: Millis,
    /// Keys that are banned, and that have expired.
    banned: [bool; KEYS],
    expired: [bool; KEYS],
    requests: u64,
    last: Option<(Record, Option<Settlement>, Millis)>,
}

async fn engine(store: &Arc<dyn Store>) -> Arc<Engine> {
    let mut policy = limits_alone(1);
    policy.limits = Default::default();
    Engine::start(store.clone(), Arc::new(Geo::off()), policy, options()).await.unwrap()
}

fn name(key: usize) -> String {
    format!("key-{key}")
}

impl Run {
    pub(super) async fn start(store: Arc<dyn Store>) -> Self {
        let engine = engine(&store).await;
        let project = json!({"budget_usd": Usd(NANOS).to_string(),
            "limits": [{"unit": "tokens", "window": "month", "limit": TOKENS}]});
        let project = serde_json::from_value::<Project>(project).unwrap().checked().unwrap();
        engine
            .registry_changes()
            .put("shared", &Entry::Project(project), &Actor::local(), START)
            .await
            .unwrap();
        let mut run = Self {
            store,
            engine,
            intake: intake(5 * MINUTE),
            oracle: Oracle::default(),
            now: START,
            banned: [false; KEYS],
            expired: [false; KEYS],
            requests: 0,
            last: None,
        };
        for key in 0..KEYS {
            run.report(key, 1, 1).await.unwrap();
        }
        // So usage has them, whatever comes first.
        run.compare().await.unwrap();
        run
    }

    /// A record of a key, which has an id of its own.
    fn record(&mut self, key: usize, fields: Value) -> Record {
        self.requests += 1;
        let mut body = json!({"key_id": name(key), "endpoint": "/v1/chat", "source_ip": "203.0.113.7",
            "project_id": "shared", "request_id": format!("r{}", self.requests)});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let wire: WireRecord = parse(&serde_json::to_vec(&body).unwrap()).unwrap();
        self.intake.record(wire, self.now).unwrap()
    }

    fn usage(tokens: u64, nanos: u64) -> Value {
        json!({"tokens_used": tokens, "cost_usd": Usd(nanos).to_string()})
    }

    pub(super) async fn make(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Reserve { key, tokens, nanos, lease, dispatched } => {
                self.reserve(key, Used::one(tokens, nanos), HoldTerms { lease, dispatched }).await?;
            }
            Step::Extend { which, lease } => {
                self.change(which, ReservationChange::Extend { lease: Some(lease), dispatched: false })
                    .await?;
            }
            Step::Dispatch { which } => {
                self.change(which, ReservationChange::Extend { lease: None, dispatched: true }).await?;
            }
            Step::GiveBack { which } => self.change(which, ReservationChange::GiveBack).await?,
            Step::Settle { which, tokens, nanos, how } => self.settle(which, tokens, nanos, how).await?,
            Step::Again => self.again().await?,
            Step::Report { key, tokens, nanos } => self.report(key, tokens, nanos).await?,
            Step::Ban { key, lift } => self.ban(key, lift).await,
            Step::Expire { key, renew } => self.expire(key, renew).await,
            Step::End { counted } => self.end_due(counted).await,
            Step::Kill => {
                self.engine = engine(&self.store).await;
                self.last = None;
            }
            Step::Pass(time) => self.now += time,
        }
        self.compare().await
    }

    async fn reserve(&mut self, key: usize, estimate: Used, terms: HoldTerms) -> Result<(), TestCaseError> {
        let asked = self.record(key, Self::usage(estimate.tokens, estimate.nanos));
        let (tokens, nanos) = self.oracle.limits(self.now);
        let fits = tokens + estimate.tokens <= TOKENS && nanos + estimate.nanos <= NANOS;
        let answer = self.engine.reserve(&asked, terms, self.now).await;
        prop_assert_eq!(answer.allowed, fits && !self.banned[key] && !self.expired[key]);
        prop_assert_eq!(answer.allowed, answer.reserved.is_some());
        let Some(reserved) = answer.reserved else { return Ok(()) };
        let again = self.engine.reserve(&asked, terms, self.now).await;
        prop_assert_eq!(again.reserved.as_ref(), Some(&reserved), "a retry gets the same one");
        let until = self.now + terms.lease.unwrap_or(MINUTE);
        self.oracle.held.push(Held {
            id: reserved.id.to_string(),
            key,
            estimate,
            until,
            dispatched: terms.dispatched,
            ends: Vec::new(),
            forgotten: false,
        });
        Ok(())
    }

    /// One of the reservations that were made, ended or not.
    fn pick(&self, which: usize) -> Option<usize> {
        let made = self.oracle.held.len();
        // The latest is the likeliest to be open.
        (made > 0).then(|| made - 1 - which * which / 64 % made)
    }

    async fn change(&mut self, which: usize, change: ReservationChange) -> Result<(), TestCaseError> {
        let Some(which) = self.pick(which) else { return Ok(()) };
        let expected = self.oracle.change(which, self.now);
        let id = ReservationId::parse(&self.oracle.held[which].id).unwrap();
        let answer = match self.engine.reservations().change(&id, change, self.now).await.unwrap() {
            ReservationChanged::Done(..) => Change::Done,
            ReservationChanged::Ended(_) => Change::Ended,
            ReservationChanged::Unknown => Change::Unknown,
        };
        prop_assert_eq!(answer, expected);
        if answer != Change::Done {
            return Ok(());
        }
        match change {
            ReservationChange::GiveBack => self.oracle.give_back(which),
            ReservationChange::Extend { lease, dispatched } => {
                let held = &mut self.oracle.held[which];
                held.until = held.until.max(lease.map_or(0, |lease| self.now + lease));
                held.dispatched |= dispatched;
            }
        }
        Ok(())
    }

    async fn settle(&mut self, which: usize, tokens: u64, nanos: u64, how: How) -> Result<(), TestCaseError> {
        let Some(which) = self.pick(which) else { return Ok(()) };
        let Held { id, key, .. } = self.oracle.held[which].clone();
        let mut fields = match how {
            How::WithoutUsage => json!({}),
            How::Refused => json!({"refused_by": "keyward"}),
            How::Plain | How::Late => Self::usage(tokens, nanos),
        };
        fields["reservation_id"] = id.into();
        if how == How::Late {
            fields["timestamp"] = format_millis(self.now - 10 * MINUTE).into();
        }
        let record = self.record(key, fields);
        let says = (how != How::WithoutUsage).then_some(Used::one(tokens, nanos));
        let expected = self.oracle.settle(which, says, how == How::Refused, self.now);
        self.tell(record, Some(expected)).await
    }

    async fn report(&mut self, key: usize, tokens: u64, nanos: u64) -> Result<(), TestCaseError> {
        let record = self.record(key, Self::usage(tokens, nanos));
        self.oracle.record(key, Some(Used::one(tokens, nanos)));
        self.tell(record, None).await?;
        // What is counted behind its answer leaves none for a retry.
        if self.banned[key] || self.expired[key] {
            self.last = None;
        }
        Ok(())
    }

    async fn tell(&mut self, record: Record, expected: Option<Settlement>) -> Result<(), TestCaseError> {
        let answer = self.engine.record(std::slice::from_ref(&record), self.now).await.remove(0);
        prop_assert_eq!(answer.settlement, expected);
        prop_assert!(!answer.degraded);
        self.last = Some((record, expected, self.now));
        Ok(())
    }

    async fn again(&mut self) -> Result<(), TestCaseError> {
        let Some((record, expected, at)) = self.last.clone() else { return Ok(()) };
        // A banned key's retry is answered by its ban.
        let refused = self.banned.iter().chain(&self.expired).any(|refused| *refused);
        if self.now - at >= 2 * MINUTE || refused && expected.is_none() {
            return Ok(());
        }
        let answer = self.engine.record(&[record], self.now).await.remove(0);
        prop_assert_eq!(answer.settlement, expected, "the same answer");
        Ok(())
    }

    async fn ban(&mut self, key: usize, lift: bool) {
        let subject = Subject::key(&name(key));
        if lift {
            self.engine.bans().lift(&subject, "told to", &Actor::local(), self.now).await.unwrap();
        } else {
            self.engine.bans().ban(&subject, None, "told to", &Actor::local(), self.now).await.unwrap();
        }
        self.banned[key] = !lift;
    }

    async fn expire(&mut self, key: usize, renew: bool) {
        let expires = self.now + if renew { 400 * DAY } else { -SECOND };
        let body = json!({"project": "shared", "expires": format_millis(expires)});
        let body = serde_json::from_value::<KeyEntry>(body).unwrap().checked().unwrap();
        self.engine
            .registry_changes()
            .put(&name(key), &Entry::Key(body), &Actor::local(), self.now)
            .await
            .unwrap();
        self.expired[key] = !renew;
    }

    async fn end_due(&mut self, counted: bool) {
        if counted {
            self.engine.reservations().end(self.now).await.unwrap();
        } else {
            for reservation in self.store.ended_reservations(self.now, 1_000).await.unwrap() {
                self.store.end_reservation(&reservation, self.now).await.unwrap();
            }
        }
        self.oracle.end(self.now);
    }

    async fn compare(&mut self) -> Result<(), TestCaseError> {
        let now = self.now;
        let span = (Bucket::Day.start(START - HOUR), now + DAY);
        let query = UsageQuery::new(Rows::Each(Bucket::Day), span, now);
        let usage = self.engine.usage().table(&query).await.unwrap().total;
        let usage = Used { requests: usage.requests, tokens: usage.tokens, nanos: usage.cost_nanos };
        prop_assert_eq!(usage, self.oracle.usage(), "usage");
        let probe = self.record(0, json!({"key_id": "probe", "tokens_used": 0}));
        let limits = self.engine.check(&probe, false, now).await.limits;
        let counted = |unit: Unit| limits.iter().find(|l| l.scope.is_some() && l.unit == unit).unwrap().used;
        prop_assert_eq!((counted(Unit::Tokens), counted(Unit::CostUsd)), self.oracle.limits(now), "limits");
        // Later, something has left the longest window.
        if now - START < 20 * HOUR {
            for key in 0..KEYS {
                let seen = self.store.inspect(&Subject::key(&name(key)), now).await.unwrap().unwrap();
                let seen = (seen.counts[3].requests, seen.counts[3].tokens);
                prop_assert_eq!(seen, self.oracle.windows(key), "windows of key {}", key);
            }
        }
        Ok(())
    }

    /// When all leases are over, and another instance has ended them, each has ended once.
    pub(super) async fn end(mut self) -> Result<(), TestCaseError> {
        self.make(&Step::Pass(2 * HOUR)).await?;
        self.make(&Step::Kill).await?;
        // What has ended is forgotten in time, too.
        for _ in 0..3 {
            self.make(&Step::End { counted: true }).await?;
        }
        prop_assert!(self.oracle.all_ended_once(), "{:?}", self.oracle.held);
        prop_assert_eq!(self.store.ended_reservations(self.now, 10).await.unwrap(), []);
        Ok(())
    }
}
