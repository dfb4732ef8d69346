//! Holds decisions against expectations, and says in words what is different.

use keyward::domain::{decision::Decision, event::format_millis, finding::Severity};

use super::format::Expect;

/// What did not hold.
pub(super) fn judge(expect: &Expect, decisions: &[Decision]) -> Vec<String> {
    let parts = [
        finding(expect, decisions),
        action(expect, decisions),
        retry_after(expect, decisions),
        reason(expect, decisions),
        refused_from(expect, decisions),
        refused(expect, decisions),
        if expect.peace { disturbed(decisions) } else { None },
        not(expect, decisions),
    ];
    parts.into_iter().flatten().collect()
}

/// The past of a key is rightful: nothing in it may be refused.
pub(super) fn past(decisions: &[Decision]) -> Option<String> {
    let refused = decisions.iter().find(|decision| !decision.allowed)?;
    Some(format!("refused in its own past: {}", describe(refused)))
}

fn finding(expect: &Expect, decisions: &[Decision]) -> Option<String> {
    if expect.finding.is_empty() && expect.severity.is_none() {
        return None;
    }
    let least = expect.severity.unwrap_or(Severity::High);
    let mut among = decisions.iter().take(expect.within.unwrap_or(usize::MAX)).flat_map(|d| &d.anomalies);
    let fits = |kind| expect.finding.is_empty() || expect.finding.contains(&kind);
    if among.any(|found| fits(found.kind) && found.severity >= least) {
        return None;
    }
    let (wanted, first) = (&expect.finding, expect.within.unwrap_or(decisions.len()));
    Some(format!("expected {wanted:?} {} in the first {first}; {}", least.name(), summary(decisions)))
}

fn action(expect: &Expect, decisions: &[Decision]) -> Option<String> {
    let wanted = expect.action?;
    let strongest = decisions.iter().map(|decision| decision.action).max()?;
    (strongest != wanted).then(|| {
        format!(
            "expected {} at most and once, got {}; {}",
            wanted.name(),
            strongest.name(),
            summary(decisions)
        )
    })
}

fn retry_after(expect: &Expect, decisions: &[Decision]) -> Option<String> {
    let [from, to] = expect.retry_after?;
    let first = decisions.iter().find(|decision| !decision.allowed);
    let seconds = first.and_then(Decision::retry_after_seconds);
    let fits = seconds.is_some_and(|seconds| (from..=to).contains(&seconds));
    (!fits).then(|| format!("expected {from} to {to} s until it is admitted again, got {seconds:?}"))
}

fn reason(expect: &Expect, decisions: &[Decision]) -> Option<String> {
    let wanted = expect.reason?;
    let last = decisions.last()?;
    let fits = !last.allowed && last.reason == Some(wanted);
    (!fits).then(|| format!("expected the last to be refused for {}, got {}", wanted.name(), describe(last)))
}

fn refused_from(expect: &Expect, decisions: &[Decision]) -> Option<String> {
    let wanted = expect.refused_from?;
    let first = decisions.iter().position(|decision| !decision.allowed).map(|index| index + 1);
    let admitted_later =
        first.is_some_and(|first| decisions[first..].iter().any(|decision| decision.allowed));
    (first != Some(wanted) || admitted_later)
        .then(|| format!("expected refusals from request {wanted} on, got {first:?}; {}", summary(decisions)))
}

fn refused(expect: &Expect, decisions: &[Decision]) -> Option<String> {
    let wanted = expect.refused?;
    let count = decisions.iter().filter(|decision| !decision.allowed).count();
    (count != wanted).then(|| format!("expected {wanted} refusals, got {count}; {}", summary(decisions)))
}

fn disturbed(decisions: &[Decision]) -> Option<String> {
    let serious = |d: &&Decision| !d.allowed || d.anomalies.iter().any(|f| f.severity >= Severity::High);
    let count = decisions.iter().filter(serious).count();
    let first = decisions.iter().find(serious)?;
    Some(format!(
        "expected peace, but {count} of {} were not; the first: {}",
        decisions.len(),
        describe(first)
    ))
}

fn not(expect: &Expect, decisions: &[Decision]) -> Option<String> {
    let unwanted = |d: &&Decision| d.anomalies.iter().any(|f| expect.not.contains(&f.kind));
    decisions.iter().find(unwanted).map(|d| format!("found what it should not: {}", describe(d)))
}

fn summary(decisions: &[Decision]) -> String {
    let refused = decisions.iter().filter(|decision| !decision.allowed).count();
    let worst = decisions.iter().enumerate().max_by_key(|(index, decision)| {
        let severity = decision.anomalies.iter().map(|f| f.severity).max();
        (severity, std::cmp::Reverse(*index))
    });
    let worst = worst.map(|(index, decision)| format!("worst, number {}: {}", index + 1, describe(decision)));
    format!("{refused} of {} refused; {}", decisions.len(), worst.unwrap_or_default())
}

fn describe(decision: &Decision) -> String {
    let findings: Vec<String> = decision
        .anomalies
        .iter()
        .map(|f| format!("{} {} {}", f.kind.name(), f.severity.name(), f.evidence))
        .collect();
    let answer = if decision.allowed { "allowed" } else { "refused" };
    let reason = decision.reason.map(|reason| format!(" for {}", reason.name())).unwrap_or_default();
    let at = format_millis(decision.decided_at);
    format!("{at} {answer}{reason}, {} [{}]", decision.action.name(), findings.join("; "))
}
