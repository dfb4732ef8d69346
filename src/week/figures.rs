//! The figures of a week, as the API gives them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    event::Verdict,
    finding::{AnomalyKind, Mode},
    money::Usd,
    subject::Subject,
};

/// What seven days came to, and the seven before them where that says more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Week {
    /// When it begins, at a whole hour.
    #[schema(format = DateTime)]
    pub from: String,
    /// When it ends; what happens then is not in it.
    #[schema(format = DateTime)]
    pub to: String,
    /// False within about a minute of a start, while the log is still being read: the newest events are missing then.
    pub complete: bool,
    /// How many events there were of each type, most first.
    pub events: Vec<EventCount>,
    /// Bans that began in the week, the newest first; 1,000 at most.
    pub bans: Vec<Ban>,
    /// Whether more bans began than are listed.
    pub more_bans: bool,
    /// A row for each type of finding that a detector makes, the noisiest first.
    pub detectors: Vec<Noise>,
    /// What everything together used.
    pub spend: Spend,
    /// What each project spent, and its budgets; who spent most comes first, 100 at most.
    pub projects: Vec<ProjectSpend>,
    /// How many projects are not listed; null: there are too many to be told apart.
    pub more_projects: Option<usize>,
}

/// How many events of one type there were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventCount {
    /// The type, as in docs/events.md.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many; a folded event counts as so many as it stands for.
    pub count: u64,
    /// How many there were in the seven days before.
    pub before: u64,
    /// How many on each of the seven days.
    pub days: Vec<u64>,
}

/// How a ban ended, or that it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is in force still.
    Holds,
    /// It ran out at its end.
    Expired,
    /// A person lifted it before its end.
    Lifted,
    /// Another ban of the same subject took its place.
    Replaced,
}

/// A ban that began in the week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ban {
    /// Who was banned: a key, an address or a project.
    #[schema(value_type = String)]
    pub subject: Subject,
    /// When it began to hold.
    #[schema(format = DateTime)]
    pub since: String,
    /// Until when it was to hold; null: for good.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// The detector that led to it, or `operator`.
    pub by: String,
    /// What a person wrote, or the type of the finding.
    pub reason: String,
    /// Whether it would have been: the policy only observed.
    pub observed: bool,
    /// How it ended, or that it holds.
    pub outcome: Outcome,
    /// When it ended; null while it holds.
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    /// The last word of an analyst about it; null: nobody said what it was.
    #[schema(value_type = Option<String>)]
    pub verdict: Option<Verdict>,
}

/// What a detector finds of one type, and what analysts say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Noise {
    /// The type of the finding.
    #[schema(value_type = String)]
    #[serde(rename = "type")]
    pub kind: AnomalyKind,
    /// The detector, as its settings are called.
    pub detector: String,
    /// Whether its findings are acted on: `enforce`, `shadow` or `off`.
    #[schema(value_type = String)]
    pub mode: Mode,
    /// How many findings there were.
    pub findings: u64,
    /// Events of it that analysts called benign.
    pub benign: u64,
    /// Events of it that analysts called an attack.
    pub attack: u64,
}

/// What was used in the week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spend {
    /// US dollars, as a decimal.
    #[schema(value_type = String)]
    pub cost_usd: Usd,
    /// US dollars of the seven days before.
    #[schema(value_type = String)]
    pub before_usd: Usd,
    /// How many requests there were.
    pub requests: u64,
    /// Of them, those that Keyward refused.
    pub refused: u64,
    /// How many tokens they had.
    pub tokens: u64,
    /// What each of the seven days cost.
    pub days: Vec<Day>,
    /// What the month will have cost by its end; null where nothing can be said.
    pub month: Option<Outlook>,
}

/// What 24 hours cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Day {
    /// When they begin, at a whole hour.
    #[schema(format = DateTime)]
    pub from: String,
    /// US dollars, as a decimal.
    #[schema(value_type = String)]
    pub cost_usd: Usd,
}

/// US dollars at the end of the calendar month, of UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Outlook {
    /// What is expected by then.
    #[schema(value_type = String)]
    pub expected_usd: Usd,
    /// In nine of ten cases it is more; null where too few days are known.
    #[schema(value_type = Option<String>)]
    pub low_usd: Option<Usd>,
    /// In nine of ten cases it is less; null where too few days are known.
    #[schema(value_type = Option<String>)]
    pub high_usd: Option<Usd>,
}

/// What a project spent in the week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProjectSpend {
    /// The project; null: what belongs to none.
    pub project: Option<String>,
    /// US dollars, as a decimal.
    #[schema(value_type = String)]
    pub cost_usd: Usd,
    /// US dollars of the seven days before.
    #[schema(value_type = String)]
    pub before_usd: Usd,
    /// How many requests there were.
    pub requests: u64,
    /// What the month will have cost by its end; null where nothing can be said, or the project has no budget.
    pub month: Option<Outlook>,
    /// Its limits on US dollars, as they stand now.
    pub budgets: Vec<Budget>,
}

/// A limit on US dollars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    /// Over what it counts, such as `month`.
    pub window: String,
    /// For which models; null: for all.
    pub model: Option<String>,
    /// US dollars that may be spent.
    #[schema(value_type = String)]
    pub limit_usd: Usd,
    /// US dollars that are spent.
    #[schema(value_type = String)]
    pub used_usd: Usd,
}
