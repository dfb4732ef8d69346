//! The observe and respond scripts against `SlidingWindow` and the rules in words, with random calls.

use keyward::{
    domain::{
        DAY, HOUR, MINUTE, Millis,
        observation::{Charge, ChargeMode, Claim, LimitRefusal, Observation, PeerSeen, Peers},
        standing::{Standing, StandingState},
        window::{Counts, SlidingWindow, Unit, WINDOW_COUNT, WINDOW_MILLIS, WindowLimits},
    },
    store::{Refund, Respond, Store},
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{T0, charge, peer, setting, store};

/// The rules, read one by one.
#[derive(Clone, Default)]
struct Model {
    known: bool,
    last_now: Millis,
    windows: [SlidingWindow; WINDOW_COUNT],
    standing: Standing,
    peers: Vec<PeerSeen>,
}

impl Model {
    fn observe(&mut self, charge: &Charge) -> Observation {
        let mut next = self.clone();
        let peeks = charge.mode == ChargeMode::Peek || !self.known && !charge.may_create;
        let now = charge.now.max(self.last_now);
        for (window, length) in next.windows.iter_mut().zip(WINDOW_MILLIS) {
            window.advance(length, now);
        }
        let standing = self.standing.counting(charge.observing);
        let banned = standing.is_banned_at(now);
        let limits = match standing.share_at(now) {
            1000 => charge.limits,
            share => charge.limits.at_share(share),
        };
        let exceeded = if banned { Vec::new() } else { next.exceeded(charge, &limits) };
        let admitted = !banned && exceeded.is_empty();
        let peers: Peers = self.peers.iter().copied().collect();
        let charged = !peeks && (admitted || charge.mode == ChargeMode::Report);
        if charged {
            next.windows.iter_mut().for_each(|window| window.charge(&charge.counts));
            (next.known, next.last_now) = (true, now);
        }
        if charged && admitted {
            next.touch(charge, now);
        }
        let refusal = next.refusal(charge, exceeded);
        let observation = Observation {
            counter_refusal: None,
            counters: Vec::new(),
            now,
            standing: self.standing,
            admitted,
            refusal,
            counts: next.windows.each_ref().map(SlidingWindow::sum),
            resets_at: std::array::from_fn(|w| next.windows[w].resets_at(WINDOW_MILLIS[w], now)),
            peers,
            created: charged && !self.known,
            tracked: self.known || !peeks,
            claim: Claim::Fresh,
            settled: None,
            lapsed: false,
            owed: Vec::new(),
            unfinished: false,
        };
        if charged {
            *self = next;
        }
        observation
    }

    fn exceeded(&self, charge: &Charge, limits: &WindowLimits) -> Vec<(usize, Unit, u64)> {
        let exceeds = |(window, unit, limit): &(usize, Unit, u64)| {
            self.windows[*window].sum().of(*unit) + charge.counts.of(*unit) > *limit
        };
        limits.set().filter(exceeds).collect()
    }

    /// Of the limits that a charge exceeds the one that keeps the same out longest from here on.
    fn refusal(&self, charge: &Charge, exceeded: Vec<(usize, Unit, u64)>) -> Option<LimitRefusal> {
        let mut worst: Option<LimitRefusal> = None;
        for (window, unit, limit) in exceeded {
            let amount = charge.counts.of(unit);
            let retry_at = self.windows[window].admits_at(WINDOW_MILLIS[window], unit, amount, limit);
            let later =
                |old: &LimitRefusal| retry_at.unwrap_or(Millis::MAX) > old.retry_at.unwrap_or(Millis::MAX);
            if worst.as_ref().is_none_or(later) {
                worst = Some(LimitRefusal { window, unit, limit, retry_at });
            }
        }
        worst
    }

    fn touch(&mut self, charge: &Charge, now: Millis) {
        let Some(peer) = charge.peer else { return };
        let old = self.peers.iter().position(|p| p.peer.id == peer.id).map(|i| self.peers.remove(i));
        let (first_seen, hits) = old.map_or((now, 0), |p| (p.first_seen, p.hits));
        self.peers.insert(0, PeerSeen { peer, first_seen, last_seen: now, hits: hits + 1 });
        self.peers.truncate(charge.peer_capacity.into());
    }

    fn refund(&mut self, refund: &Refund) {
        if !self.known {
            return;
        }
        for (window, length) in self.windows.iter_mut().zip(WINDOW_MILLIS) {
            window.refund(length, refund.charged_at, &refund.counts);
        }
        if let Some(peer) = self.peers.iter_mut().find(|p| Some(p.peer.id) == refund.peer) {
            peer.hits -= 1;
        }
        self.peers.retain(|p| p.hits > 0);
    }
}

/// A random call.
#[derive(Debug, Clone)]
enum Step {
    Charge {
        after: Millis,
        counts: Counts,
        limits: WindowLimits,
        mode: ChargeMode,
        peer: Option<u64>,
        may_create: bool,
        observing: bool,
    },
    Refund {
        which: prop::sample::Index,
    },
    Stand {
        state: StandingState,
        lasts: Option<Millis>,
        share: u16,
        unenforced: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![
        8 => 0..3_000i64,
        4 => 0..2 * MINUTE,
        2 => 0..2 * HOUR,
        1 => 0..30 * HOUR,
        1 => -10_000..0i64,
    ];
    let counts = (0..3u64, prop_oneof![0..1_000u64, Just(0)], 0..2u64, 0..2u64).prop_map(
        |(requests, tokens, auth_failures, not_found)| Counts { requests, tokens, auth_failures, not_found },
    );
    let limit = |most: u64| prop::option::weighted(0.3, 0..most);
    let limits = (prop::array::uniform4(limit(4_000)), prop::array::uniform4(limit(15)))
        .prop_map(|(tokens, requests)| WindowLimits { requests, tokens });
    let mode =
        prop_oneof![8 => Just(ChargeMode::Admit), 1 => Just(ChargeMode::Peek), 2 => Just(ChargeMode::Report)];
    let how = (prop::bool::weighted(0.8), any::<bool>());
    let charge = (after, counts, limits, mode, prop::option::of(0..6u64), how).prop_map(
        |(after, counts, limits, mode, peer, (may_create, observing))| Step::Charge {
            after,
            counts,
            limits,
            mode,
            peer,
            may_create,
            observing,
        },
    );
    let state = prop_oneof![
        Just(StandingState::Clear),
        Just(StandingState::Throttled),
        Just(StandingState::TemporarilyBanned)
    ];
    let stand = (state, 1..HOUR, 0..1001u16, any::<bool>()).prop_map(|(state, lasts, share, unenforced)| {
        Step::Stand { state, lasts: Some(lasts), share, unenforced }
    });
    let refund = any::<prop::sample::Index>().prop_map(|which| Step::Refund { which });
    prop::collection::vec(prop_oneof![20 => charge, 2 => refund, 1 => stand], 1..80)
}

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

async fn agree(store: &impl Store, key: &str, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut clock = T0;
    let mut refundable: Vec<Refund> = Vec::new();
    for step in steps {
        match step {
            Step::Charge { after, counts, limits, mode, peer: seen_with, may_create, observing } => {
                clock += after;
                let charge = Charge {
                    counts: *counts,
                    limits: *limits,
                    mode: *mode,
                    peer: seen_with.map(peer),
                    peer_capacity: 4,
                    may_create: *may_create,
                    observing: *observing,
                    counters: Vec::new(),
                    entry: None,
                    ..charge(key, clock, 0)
                };
                let seen = store.observe(std::slice::from_ref(&charge)).await.unwrap().remove(0);
                let counted = seen.admitted && *mode != ChargeMode::Peek && (model.known || *may_create);
                prop_assert_eq!(&seen, &model.observe(&charge), "{:?}", charge);
                if counted {
                    refundable.push(Refund { charged_at: seen.now, counts: *counts, peer: *seen_with });
                }
            }
            Step::Refund { which } if !refundable.is_empty() => {
                let refund = refundable.swap_remove(which.index(refundable.len()));
                let respond = Respond {
                    standing: None,
                    refunds: vec![refund.clone()],
                    ..setting(key, Standing::default())
                };
                store.respond(&respond).await.unwrap();
                model.refund(&refund);
            }
            Step::Refund { .. } => {}
            Step::Stand { state, lasts, share, unenforced } => {
                let standing = Standing {
                    version: model.standing.version + 1,
                    state: *state,
                    since: clock,
                    until: lasts.filter(|_| *state != StandingState::Clear).map(|l| clock + l),
                    share_permille: *share,
                    unenforced: *unenforced,
                    ..Standing::default()
                };
                store.respond(&Respond { now: clock, ..setting(key, standing) }).await.unwrap();
                (model.standing, model.known) = (standing, true);
            }
        }
    }
    Ok(())
}

#[test]
fn random_calls_get_the_answers_of_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(store());
    let case = std::cell::Cell::new(0);
    runner(120)
        .run(&steps(), |steps| {
            case.set(case.get() + 1);
            runtime.block_on(agree(&store, &format!("k{}", case.get()), &steps))
        })
        .unwrap();
}

/// Long and dense, so that windows are full and refusals walk through many buckets.
#[test]
fn full_windows_get_the_answers_of_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(store());
    let mut limits = WindowLimits::default();
    (limits.tokens, limits.requests) =
        ([Some(900), Some(3_000), Some(20_000), None], [None, Some(200), None, None]);
    for (name, pace) in [("second", 1_000), ("quarter", 250), ("minutes", 7 * MINUTE), ("day", DAY / 50)] {
        let dense: Vec<Step> = (0..1_200i64)
            .map(|i| Step::Charge {
                after: pace + i * 37 % 211,
                counts: Counts { requests: 1, tokens: (i * i % 40) as u64, ..Counts::default() },
                limits,
                mode: ChargeMode::Admit,
                peer: Some((i % 5) as u64),
                may_create: true,
                observing: false,
            })
            .collect();
        runtime.block_on(agree(&store, name, &dense)).unwrap();
    }
}
