//! The same random calls to every store and to the naive oracle give equal answers.

use keyward::{
    domain::{
        HOUR, Millis,
        observation::{Charge, ChargeMode, Observation},
        place::PACKED_BYTES,
        standing::Standing,
        subject::Subject,
        window::{Counts, WindowLimits},
    },
    store::{Refund, Respond, Responded},
};
use proptest::{prelude::*, sample::select, test_runner::TestCaseError};

use super::{
    backend::{Backend, Opened},
    oracle::Oracle,
    support::*,
};

/// One random call.
#[derive(Debug, Clone)]
enum Call {
    Observe(Vec<Shot>),
    /// A change of standing; `off` is added to the version that would be right.
    Respond {
        subject: u8,
        step: Millis,
        standing: Option<(u8, Millis)>,
        off: i8,
        refunds: Vec<u8>,
    },
    Inspect {
        subject: u8,
        step: Millis,
    },
}

/// A charge, with its time relative to the latest so far.
#[derive(Debug, Clone)]
struct Shot {
    subject: u8,
    step: Millis,
    counts: Counts,
    limits: WindowLimits,
    mode: ChargeMode,
    peer: Option<u64>,
    peer_capacity: u8,
    may_create: bool,
    observing: bool,
}

/// A charge that was taken, for refunds.
struct Taken {
    subject: u8,
    refund: Refund,
}

fn subject_of(number: u8) -> Subject {
    key(&number.to_string())
}

fn step() -> impl Strategy<Value = Millis> {
    prop_oneof![
        6 => 0..900_i64,
        4 => 0..20_000_i64,
        2 => 20_000..400_000_i64,
        1 => 400_000..3 * HOUR,
        2 => -100_000..0_i64,
    ]
}

fn limits() -> impl Strategy<Value = WindowLimits> {
    let limit = || proptest::option::weighted(0.4, prop_oneof![0..40_u64, 40..400_u64]);
    let four = || [limit(), limit(), limit(), limit()];
    (four(), four()).prop_map(|(tokens, requests)| WindowLimits { tokens, requests })
}

fn counts_of_any_kind() -> impl Strategy<Value = Counts> {
    (0..3_u64, prop_oneof![0..10_u64, 0..100_u64], 0..2_u64, 0..2_u64).prop_map(
        |(requests, tokens, auth_failures, not_found)| Counts { requests, tokens, auth_failures, not_found },
    )
}

fn shot() -> impl Strategy<Value = Shot> {
    let mode = select(vec![
        ChargeMode::Admit,
        ChargeMode::Admit,
        ChargeMode::Admit,
        ChargeMode::Peek,
        ChargeMode::Report,
    ]);
    let peers = (proptest::option::of(0..5_u64), select(vec![1_u8, 2, 3, 8, 64]));
    let how = (prop::bool::weighted(0.8), any::<bool>());
    (0..3_u8, step(), counts_of_any_kind(), limits(), mode, peers, how).prop_map(
        |(subject, step, counts, limits, mode, (peer, peer_capacity), (may_create, observing))| Shot {
            subject,
            step,
            counts,
            limits,
            mode,
            peer,
            peer_capacity,
            may_create,
            observing,
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    let standing = proptest::option::of((0..8_u8, 1_000..2 * HOUR));
    let refunds = proptest::collection::vec(any::<u8>(), 0..3);
    let off = prop_oneof![5 => Just(0_i8), 1 => -1..2_i8];
    prop_oneof![
        8 => proptest::collection::vec(shot(), 1..5).prop_map(Call::Observe),
        2 => (0..3_u8, step(), standing, off, refunds).prop_map(|(subject, step, standing, off, refunds)| {
            Call::Respond { subject, step, standing, off, refunds }
        }),
        1 => (0..3_u8, step()).prop_map(|(subject, step)| Call::Inspect { subject, step }),
    ]
}

/// The stores under test, the oracle, and what has happened.
struct Run {
    stores: Vec<(Backend, Opened)>,
    oracle: Oracle,
    now: Millis,
    taken: Vec<Taken>,
}

impl Run {
    async fn start() -> Self {
        let mut stores = Vec::new();
        for backend in Backend::ALL {
            stores.push((*backend, backend.open().await));
        }
        Self { stores, oracle: Oracle::default(), now: START, taken: Vec::new() }
    }

    fn at(&mut self, step: Millis) -> Millis {
        let now = self.now + step;
        self.now = self.now.max(now);
        now
    }

    async fn make(&mut self, call: &Call) -> Result<(), TestCaseError> {
        match call {
            Call::Observe(shots) => self.observe(shots).await,
            Call::Respond { subject, step, standing, off, refunds } => {
                let respond = self.respond(*subject, *step, *standing, *off, refunds);
                self.compare_respond(&respond).await
            }
            Call::Inspect { subject, step } => {
                let (subject, now) = (subject_of(*subject), self.at(*step));
                let expected = self.oracle.inspect(&subject, now);
                for (backend, opened) in &self.stores {
                    let answer = opened.store.inspect(&subject, now).await.unwrap();
                    prop_assert_eq!(&answer, &expected, "{:?}", backend);
                }
                Ok(())
            }
        }
    }

    async fn observe(&mut self, shots: &[Shot]) -> Result<(), TestCaseError> {
        let charges: Vec<Charge> = shots.iter().map(|shot| self.charge(shot)).collect();
        let mut expected: Vec<Observation> = Vec::new();
        for (charge, shot) in charges.iter().zip(shots) {
            let answer = self.oracle.observe(charge);
            self.oracle.judge(charge, &answer).map_err(TestCaseError::fail)?;
            let charged =
                answer.admitted && charge.mode == ChargeMode::Admit || charge.mode == ChargeMode::Report;
            if charged && answer.tracked {
                let peer = charge.peer.filter(|_| answer.admitted).map(|peer| peer.id);
                let refund = Refund { charged_at: answer.now, counts: charge.counts, peer };
                self.taken.push(Taken { subject: shot.subject, refund });
            }
            expected.push(answer);
        }
        for (backend, opened) in &self.stores {
            let answers = opened.store.observe(&charges).await.unwrap();
            prop_assert_eq!(&answers, &expected, "{:?}", backend);
        }
        Ok(())
    }

    fn charge(&mut self, shot: &Shot) -> Charge {
        let peer =
            shot.peer.map(|id| keyward::domain::observation::Peer { id, data: [id as u8; PACKED_BYTES] });
        Charge {
            subject: subject_of(shot.subject),
            now: self.at(shot.step),
            counts: shot.counts,
            limits: shot.limits,
            mode: shot.mode,
            peer,
            peer_capacity: shot.peer_capacity,
            may_create: shot.may_create,
            observing: shot.observing,
            counters: Vec::new(),
            entry: None,
        }
    }

    fn respond(
        &mut self,
        subject: u8,
        step: Millis,
        standing: Option<(u8, Millis)>,
        off: i8,
        refunds: &[u8],
    ) -> Respond {
        let (now, name) = (self.at(step), subject_of(subject));
        let version = self.oracle.standing(&name).version.saturating_add_signed(i64::from(off) + 1);
        let standing = standing.map(|(rung, lasts)| {
            let standing: Standing = match rung % 4 {
                0 => cleared(version, now),
                1 => throttle(version, now, now + lasts),
                2 => ban(version, now, now + lasts / 60),
                _ => permanent_ban(version, now),
            };
            (Standing { unenforced: rung >= 4, ..standing }, because("the dice said so"))
        });
        let refunds = refunds.iter().filter_map(|pick| self.pick(subject, *pick)).collect();
        Respond { subject: name, now, standing, refunds, events: vec![] }
    }

    /// A charge of this subject that was not taken back yet, each once. One of nothing leaves no bucket that
    /// the oracle and a store could disagree about, so it is fine too.
    fn pick(&mut self, subject: u8, pick: u8) -> Option<Refund> {
        let mine: Vec<_> = (0..self.taken.len()).filter(|i| self.taken[*i].subject == subject).collect();
        let index = *mine.get(usize::from(pick) % mine.len().max(1))?;
        Some(self.taken.remove(index).refund)
    }

    async fn compare_respond(&mut self, respond: &Respond) -> Result<(), TestCaseError> {
        let expected = self.oracle.respond(respond);
        for (backend, opened) in &self.stores {
            let answer = match opened.store.respond(respond).await.unwrap() {
                Responded::Done(events) if events.is_empty() => Ok(()),
                Responded::Done(events) => panic!("events from nowhere: {events:?}"),
                Responded::Conflict(current) => Err(current),
            };
            prop_assert_eq!(&answer, &expected, "{:?}", backend);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_store_gives_the_answers_of_the_oracle(calls in proptest::collection::vec(call(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::start().await;
            for call in &calls {
                run.make(call).await?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
