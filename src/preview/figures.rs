//! The figures of a preview, as the API gives them.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::{enforcement::Enforcement, finding::AnomalyKind, subject::Subject};

/// What two policies make of the same findings: the one in force (`before`) and the one that is given (`after`).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Preview {
    /// When the span begins.
    #[schema(format = DateTime)]
    pub since: String,
    /// When it ends; what happened then is not in it.
    #[schema(format = DateTime)]
    pub until: String,
    /// Whether every event of the span was read; else the oldest are left out.
    pub complete: bool,
    /// How many events were read.
    pub events: u64,
    /// Findings among them, of any severity; one that was folded counts as so many as it stands for.
    pub findings: u64,
    /// Each setting that differs, by its path, with `before` and `after`.
    #[schema(value_type = Value)]
    pub changes: Map<String, Value>,
    /// Those of them whose effect is not in these figures: nothing in the log tells what they would change. A replay of
    /// recorded traffic does (`keyward replay --compare`).
    pub not_covered: Vec<String>,
    /// What the policy in force does.
    pub before: Ruled,
    /// What the policy that is given would do.
    pub after: Ruled,
    /// A row for each type of finding, most findings first.
    pub types: Vec<TypeRow>,
    /// Keys, addresses and projects with which the two deal otherwise, who is hit hardest first; 100 at most.
    pub subjects: Vec<SubjectRow>,
    /// How many more of them there are.
    pub more_subjects: usize,
}

/// What a policy does in all.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Ruled {
    /// The version of the policy, a digest of its content.
    pub policy_version: String,
    /// Whether it refuses. One that observes only says what is counted here.
    pub enforcement: Enforcement,
    /// How often what is counted here was done.
    #[serde(flatten)]
    pub acts: Acts,
    /// How many subjects it bans.
    pub subjects_banned: usize,
}

/// How often a policy does what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct Acts {
    /// Bans that it makes, temporary and permanent.
    pub bans: u64,
    /// Those of them that end only when a person lifts them.
    pub permanent_bans: u64,
    /// Requests that it refuses for a ban, as far as they are in the log.
    pub refused: u64,
    /// Findings that it answers with a throttle.
    pub throttles: u64,
    /// Findings of which it tells, and does no more.
    pub alerts: u64,
}

/// What the two do about one type of finding.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TypeRow {
    /// The type of the finding.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "TRAFFIC_BURST")]
    pub kind: AnomalyKind,
    /// How many there were.
    pub findings: u64,
    /// What the policy in force does for them.
    pub before: Acts,
    /// What the policy that is given would do for them.
    pub after: Acts,
}

/// What the two do about one subject.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SubjectRow {
    /// Whom it is about.
    #[schema(value_type = String, example = "key:team-a")]
    pub subject: Subject,
    /// What the policy in force does to it.
    pub before: Acts,
    /// What the policy that is given would do to it.
    pub after: Acts,
}
