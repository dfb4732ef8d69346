//! How one limit stands: what it allows, what is used of it, and when some of that leaves.

use crate::domain::{
    Millis,
    counter::{Counter, CounterCount},
    decision::LimitStatus,
    limit::{LimitMode, Scope, Span},
    observation::Observation,
    registry::Applied,
    seconds_until,
    subject::SubjectKind,
    window::{WINDOW_MILLIS, WindowLimits},
};

/// A limit of the registry, of which a counter holds so much.
pub(super) fn of_counter(applied: &Applied, count: CounterCount, now: Millis) -> LimitStatus {
    let limit = &applied.rule.limit;
    // An empty counter is as its span would leave it.
    let reset_at = count.resets_at.unwrap_or(now);
    // What slides leaves within its span; a calendar period ends when it ends, also on a day of 25 hours.
    let reset_at = match limit.span {
        Span::Sliding(length) => reset_at.min(now + length),
        // What is only held ends earlier, and comes again when it is used.
        Span::Calendar(_) if count.used > 0 => limit.span.counts_until(now, &applied.rule.zone),
        Span::Calendar(_) => reset_at,
    };
    LimitStatus {
        scope: Some(applied.part.clone().unwrap_or_else(|| scope_name(&applied.counter).into())),
        model: limit.model.clone(),
        window: limit.span,
        unit: limit.unit,
        limit: applied.most,
        used: count.used,
        reset_seconds: seconds_until(reset_at, now),
        mode: limit.mode,
        block_seconds: limit.block.map(|length| seconds_until(length, 0)),
    }
}

/// The limits of the four windows of a key, as its standing cuts them.
pub(super) fn of_windows(key: &Observation, limits: &WindowLimits) -> Vec<LimitStatus> {
    let limits = limits.at_share(key.standing.share_at(key.now));
    limits
        .set()
        .map(|(window, unit, limit)| LimitStatus {
            scope: None,
            model: None,
            window: Span::Sliding(WINDOW_MILLIS[window]),
            unit,
            limit,
            used: key.counts[window].of(unit),
            reset_seconds: seconds_until(key.resets_at[window].min(key.now + WINDOW_MILLIS[window]), key.now),
            mode: LimitMode::Enforce,
            block_seconds: None,
        })
        .collect()
}

fn scope_name(counter: &Counter) -> &'static str {
    match &counter.scope {
        Scope::Everything => "everything",
        Scope::Subject(subject) if subject.kind() == SubjectKind::Key => "key",
        Scope::Subject(_) => "project",
    }
}
