//! One policy on its way through what happened: where each subject stands under it, and what it does to whom.

use std::collections::{BTreeMap, HashMap};

use super::{
    figures::Acts,
    happening::{Happening, What},
};
use crate::domain::{
    Millis,
    decision::Action,
    finding::{Accused, AnomalyKind, Finding, Mode},
    ladder,
    policy::Policy,
    standing::{Standing, StandingState},
    subject::Subject,
};

/// What a policy made of what happened so far.
pub(super) struct Side<'p> {
    policy: &'p Policy,
    held: HashMap<Subject, Held>,
    /// What it did to each subject to which it did anything.
    pub subjects: HashMap<Subject, Acts>,
    /// What it did for each type of finding.
    pub types: BTreeMap<AnomalyKind, Acts>,
}

/// Where a subject stands, and which finding brought it there.
#[derive(Default)]
struct Held {
    standing: Standing,
    cause: Option<AnomalyKind>,
}

impl<'p> Side<'p> {
    /// A policy under which nothing happened yet: nobody is held.
    pub(super) fn new(policy: &'p Policy) -> Self {
        Self { policy, held: HashMap::new(), subjects: HashMap::new(), types: BTreeMap::new() }
    }

    /// Whether it refuses a subject at a moment.
    pub(super) fn bans(&self, subject: &Subject, at: Millis) -> bool {
        self.held.get(subject).is_some_and(|held| held.standing.is_banned_at(at))
    }

    /// So many requests of a subject are refused.
    pub(super) fn refuse(&mut self, subject: &Subject, count: u64) {
        self.subjects.entry(subject.clone()).or_default().refused += count;
    }

    /// What a person, or what a key spends, did: it holds under any policy.
    pub(super) fn follow(&mut self, happening: &Happening) {
        let ladder = &self.policy.ladder;
        let at = happening.at;
        match happening.what {
            What::Banned(until) => {
                let held = self.held.entry(happening.subject.clone()).or_default();
                let length = until.map(|until| (until - at).max(0));
                *held = Held { standing: ladder::operator_ban(&held.standing, length, at), cause: None };
            }
            What::Lifted { benign } => {
                let Some(held) = self.held.get_mut(&happening.subject) else { return };
                if held.standing.state_at(at) == StandingState::Clear {
                    return;
                }
                held.standing = ladder::lift(&held.standing, held.cause.take(), ladder, at);
                if benign {
                    held.standing.strikes = (held.standing.strikes - 1.0).max(0.0);
                    held.standing.bans = held.standing.bans.saturating_sub(1);
                }
            }
            What::Found(..) | What::Blocked => {}
        }
    }

    /// The findings of one request about one subject, which is not empty, are answered by the ladder.
    pub(super) fn answer(&mut self, found: &[Happening]) {
        let Some(Happening { at, subject, count, .. }) = found.first() else { return };
        if self.bans(subject, *at) {
            // It never comes to the finding: the request is refused before.
            return self.refuse(subject, *count);
        }
        let findings: Vec<Finding> = found.iter().filter_map(|one| self.finding(one)).collect();
        let held = self.held.entry(subject.clone()).or_default();
        let step = ladder::climb(subject, &held.standing, &findings, &self.policy.ladder, *at);
        let Some(cause) = step.cause.and_then(|n| findings.get(n)).map(|finding| finding.kind) else {
            return;
        };
        if let Some(standing) = step.standing {
            *held = Held { standing, cause: Some(cause) };
        }
        let acts = acts(step.action, *count);
        self.types.entry(cause).or_default().add(acts);
        self.subjects.entry(subject.clone()).or_default().add(acts);
    }

    /// A finding as this policy takes it; `None` where its detector is not asked.
    fn finding(&self, happening: &Happening) -> Option<Finding> {
        let What::Found(kind, severity) = happening.what else { return None };
        let mode = Some(self.policy.mode(kind)).filter(|mode| *mode != Mode::Off)?;
        Some(Finding {
            kind,
            severity,
            score: 0.0,
            mode,
            recommendation: String::new(),
            evidence: serde_json::Value::Null,
            accused: Accused::default(),
            about: Default::default(),
        })
    }
}

/// What was done about a request, where so many equal ones are meant. A ban refuses the others of them.
fn acts(action: Action, count: u64) -> Acts {
    let none = Acts::default();
    match action {
        Action::None => none,
        Action::Alert => Acts { alerts: count, ..none },
        Action::Throttle => Acts { throttles: count, ..none },
        Action::TemporaryBan => Acts { bans: 1, refused: count, ..none },
        Action::PermanentBan => Acts { bans: 1, permanent_bans: 1, refused: count, ..none },
    }
}

impl Acts {
    /// Adds what was done beside.
    pub(super) fn add(&mut self, more: Self) {
        self.bans += more.bans;
        self.permanent_bans += more.permanent_bans;
        self.refused += more.refused;
        self.throttles += more.throttles;
        self.alerts += more.alerts;
    }
}
