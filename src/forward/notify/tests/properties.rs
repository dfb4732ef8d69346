//! What must hold whatever happens, and in whatever order.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    actor::Actor,
    event::{FeedbackGiven, Verdict},
};

#[derive(Debug, Clone)]
enum Step {
    /// An event of one of four keys.
    Take(EventType, Severity, u8, u64),
    /// Time passes, in seconds.
    Pass(u16),
    /// The next message fails.
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(vec![
        EventType::Anomaly(AnomalyKind::ImpossibleTravel),
        EventType::HighSeverityAnomaly,
        EventType::TemporaryBan,
        EventType::PermanentBan,
        EventType::Throttled,
        EventType::RateLimitExceeded,
        EventType::BanExpired,
        EventType::BanLifted,
        EventType::SubjectForgotten,
        EventType::FeedbackGiven,
    ]);
    let severity = prop::sample::select(vec![Severity::Low, Severity::High, Severity::Critical]);
    prop_oneof![
        6 => (kind, severity, 0..4_u8, 1..5_u64)
            .prop_map(|(kind, severity, key, count)| Step::Take(kind, severity, key, count)),
        3 => prop_oneof![0..20_u16, 0..600_u16, 0..20_000_u16].prop_map(Step::Pass),
        1 => Just(Step::Fail),
    ]
}

fn grouping() -> impl Strategy<Value = Grouping> {
    (1..4_u32, 1..20_u32, 0..30_u64).prop_map(|(burst, max_per_minute, group_wait_seconds)| Grouping {
        burst,
        max_per_minute,
        group_wait_seconds,
        ..Grouping::default()
    })
}

fn traits() -> impl Strategy<Value = ChannelTraits> {
    let state = ChannelTraits { max_notices: 1_000, acknowledges: false, ..CLOSES };
    prop::sample::select(vec![ChannelTraits::READ_BY_PEOPLE, CLOSES, state])
}

/// What was sent, when.
type Sent = Vec<(Millis, Vec<Notice>)>;

struct Run {
    groups: AlertGroups,
    now: Millis,
    fails: bool,
    sent: Sent,
    taken: u64,
}

impl Run {
    fn new(groups: AlertGroups) -> Self {
        Self { groups, now: NOW, fails: false, sent: Vec::new(), taken: 0 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Take(kind, severity, key, count) => {
                let mut taken = event(*kind, *severity, &key.to_string());
                (taken.time, taken.count) = (self.now, *count);
                match kind {
                    EventType::TemporaryBan | EventType::Throttled => {
                        taken.evidence = json!({ "until": format_millis(self.now + 20 * MINUTE) }).into();
                    }
                    EventType::FeedbackGiven => {
                        let verdict = if *count > 2 { Verdict::Attack } else { Verdict::Benign };
                        let judged = travel(*severity, &key.to_string());
                        taken = taken.with(&FeedbackGiven::new(judged, verdict, "", &Actor::local()));
                    }
                    _ => {}
                }
                if !super::super::rule::ends_group(&taken) {
                    self.taken += count;
                }
                self.groups.take(&taken, self.now);
            }
            Step::Pass(seconds) => self.now += Millis::from(*seconds) * SECOND,
            Step::Fail => self.fails = true,
        }
        let notices = self.groups.next(self.now);
        if notices.is_empty() || std::mem::take(&mut self.fails) {
            return;
        }
        self.groups.done(&notices, self.now);
        self.sent.push((self.now, notices));
    }

    /// Until nothing is left to tell.
    fn drain(&mut self) {
        for _ in 0..400 {
            self.step(&Step::Pass(300));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn there_are_never_more_messages_in_any_span_than_the_bucket_allows(
        steps in prop::collection::vec(step(), 1..120), grouping in grouping(), traits in traits(),
    ) {
        let mut run = Run::new(AlertGroups::new(grouping.clone(), traits));
        steps.iter().for_each(|step| run.step(step));
        run.drain();
        for (n, (from, _)) in run.sent.iter().enumerate() {
            for (m, (to, _)) in run.sent.iter().enumerate().skip(n) {
                let allowed = u64::from(grouping.burst) * 60_000
                    + u64::from(grouping.max_per_minute) * u64::try_from(to - from).unwrap();
                prop_assert!((m - n + 1) as u64 * 60_000 <= allowed);
            }
        }
    }

    #[test]
    fn every_event_is_sent_in_exactly_one_message(
        steps in prop::collection::vec(step(), 1..120), grouping in grouping(), traits in traits(),
    ) {
        let mut run = Run::new(AlertGroups::new(grouping, traits));
        steps.iter().for_each(|step| run.step(step));
        run.drain();
        let sent: u64 = run.sent.iter().flat_map(|(_, notices)| notices).map(|notice| notice.events).sum();
        prop_assert_eq!(sent, run.taken);
    }

    #[test]
    fn nothing_is_over_that_was_not_reported_to_have_begun(
        steps in prop::collection::vec(step(), 1..120), grouping in grouping(), traits in traits(),
    ) {
        let mut run = Run::new(AlertGroups::new(grouping, traits.clone()));
        steps.iter().for_each(|step| run.step(step));
        run.drain();
        let mut begun: HashSet<&str> = HashSet::new();
        for notice in run.sent.iter().flat_map(|(_, notices)| notices) {
            match notice.kind {
                // That nothing more came is not sent to people: it may begin again.
                NoticeKind::Firing => prop_assert!(begun.insert(&notice.dedup_key) || !traits.closes),
                NoticeKind::Update | NoticeKind::Acknowledged => {
                    prop_assert!(begun.contains(notice.dedup_key.as_str()));
                }
                NoticeKind::Resolved => prop_assert!(begun.remove(notice.dedup_key.as_str())),
                NoticeKind::HeldBack => {
                    begun.insert(&notice.dedup_key);
                    begun.extend(notice.parts.iter().map(|part| part.dedup_key.as_str()));
                    for over in notice.parts.iter().filter(|part| part.end.is_some() && !traits.closes) {
                        begun.remove(over.dedup_key.as_str());
                    }
                }
            }
        }
    }

    #[test]
    fn a_restart_at_any_point_leads_to_the_same_messages(
        steps in prop::collection::vec(step(), 2..120), at in any::<prop::sample::Index>(), grouping in grouping(),
        traits in traits(),
    ) {
        let at = at.index(steps.len());
        let mut whole = Run::new(AlertGroups::new(grouping.clone(), traits.clone()));
        let mut cut = Run::new(AlertGroups::new(grouping.clone(), traits.clone()));
        for (n, step) in steps.iter().enumerate() {
            if n == at {
                let saved = cut.groups.save();
                cut.groups = AlertGroups::new(grouping.clone(), traits.clone());
                cut.groups.restore(&saved).unwrap();
            }
            whole.step(step);
            cut.step(step);
        }
        whole.drain();
        cut.drain();
        prop_assert_eq!(whole.sent, cut.sent);
    }
}
