//! Where each alert rule stands, as people are shown it.

use crate::domain::{
    Millis,
    alert::{Alert, AlertName as Name, AlertRule, AlertState, Bar},
    event::wire_name,
};

/// Where a rule stands, about one project, key or model, or about everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertStatus {
    /// The rule, as it is configured.
    pub rule: AlertRule,
    /// Pending, firing or cleared.
    pub state: AlertState,
    /// Since when it fires or is cleared; `None`: it is pending.
    pub since: Option<Millis>,
    /// About whom, by the rule's scope; `None`: about everything, or about nobody yet.
    pub name: Name,
    /// The last sum: at which it was true, or, pending, of everything. `None` where there is none to name.
    pub observed: Option<String>,
    /// What that was held against; `None` where it is made of a baseline that was not read.
    pub threshold: Option<String>,
}

impl AlertStatus {
    pub(super) fn of(rule: &AlertRule, name: Name, alert: &Alert) -> Self {
        let Alert { state, since, observed, threshold, .. } = alert.clone();
        let (since, observed, threshold) = (Some(since), Some(observed), Some(threshold));
        Self { rule: rule.clone(), state, since, name, observed, threshold }
    }

    pub(super) fn pending(rule: &AlertRule, observed: Option<String>) -> Self {
        let threshold = match &rule.bar {
            Bar::Threshold(threshold) => Some(wire_name(threshold)),
            Bar::TimesBaseline(_) => None,
        };
        let (state, rule) = (AlertState::Pending, rule.clone());
        Self { rule, state, since: None, name: None, observed, threshold }
    }
}
