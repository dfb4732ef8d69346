//! The plans, projects and keys of the demo, as bodies of the API: so that limits and budgets have something to show.

use serde_json::{Value, json};

use super::{BATCH, Cast};

/// Three and a half requests of [`BATCH`].
const BATCH_BUDGET_USD: &str = "0.035";

/// What is put, in this order: the parts of the path behind `/v1`, and the body. The budget of `nightly-batch` is used
/// up in the play; nothing else refuses a request of it: the other budgets are ample, and the limits are shadow limits.
pub fn registry(cast: &Cast) -> Vec<([String; 2], Value)> {
    let place = |kind: &str, name: &str| [kind.to_owned(), name.to_owned()];
    let per_hour = json!({ "unit": "requests", "window": "hour", "limit": 2_000, "mode": "shadow" });
    let mut puts = vec![
        (place("plans", "team"), json!({ "limits": [per_hour] })),
        (
            place("projects", "research"),
            json!({ "plan": "team", "owner": "Research", "budget_usd": "400.00" }),
        ),
        (
            place("projects", "platform"),
            json!({ "plan": "team", "owner": "Platform", "budget_usd": "1500.00" }),
        ),
    ];
    for player in &cast.players {
        let name = player.role.name;
        let is_service = name.ends_with("-service");
        let project = if is_service { "platform" } else { "research" };
        let mut label = name.replace('-', " ");
        if let Some(first) = label.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        puts.push((place("keys", name), json!({ "project": project, "label": label })));
    }
    let batch = json!({ "project": "platform", "label": "Nightly batch", "budget_usd": BATCH_BUDGET_USD });
    puts.push((place("keys", BATCH), batch));
    puts
}
