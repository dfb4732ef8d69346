//! `keyward policy preview|versions`: what another policy would have done, and which were in force before.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::{
    Failure,
    client::Service,
    output::{line, plain},
    policy_draft::Draft,
    status::text,
    when::When,
};
use crate::{clock, domain::event::format_millis};

/// Show what another policy would have done about what was found. Nothing is put in force.
#[derive(Debug, Args)]
pub(super) struct Preview {
    #[command(flatten)]
    draft: Draft,
    /// From when on: a length before now such as 12h or 30d, or a time.
    #[arg(long, default_value = "7d", value_name = "WHEN", value_parser = When::read)]
    since: When,
    #[command(flatten)]
    service: Service,
}

/// List the policies that people put in force, newest first, with what each changed.
#[derive(Debug, Args)]
pub(super) struct Versions {
    #[command(flatten)]
    service: Service,
}

impl Preview {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let document = self.draft.document(&service).await?;
        let since = format_millis(self.since.millis(clock::wall()));
        let request = service.request(Method::POST, &["v1", "policy", "preview"]);
        let preview = service.json(request.query(&[("since", since)]).json(&document)).await?;
        if self.service.json {
            return Ok(line(&preview.to_string())?);
        }
        lines(&preview).iter().try_for_each(|text| Ok(line(text)?))
    }
}

impl Versions {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let json = self.service.json;
        let print = |version: &Value| -> Result<(), Failure> {
            if json {
                return Ok(line(&version.to_string())?);
            }
            let [since, name, by] = ["since", "version", "by"].map(|member| text(&version[member]));
            line(&format!("{since}  {name}  by {by}"))?;
            let mut changes = version["changes"].as_object().into_iter().flatten();
            changes.try_for_each(|(path, change)| Ok(line(&changed(path, change))?))
        };
        let path = ["v1", "policy", "versions"];
        service.each_page(&path, &[("limit", "1000")], |items| items.iter().try_for_each(print)).await
    }
}

fn changed(path: &str, change: &Value) -> String {
    plain(&format!("  {path}: {} -> {}", change["before"], change["after"]))
}

/// A preview for people: in all, by type, by subject, and what it does not tell.
fn lines(preview: &Value) -> Vec<String> {
    let [since, until] = ["since", "until"].map(|member| text(&preview[member]));
    let left_out = if preview["complete"] == false { "; the oldest are left out" } else { "" };
    let mut lines = vec![
        format!(
            "{} findings in {} events from {since} to {until}{left_out}",
            preview["findings"], preview["events"]
        ),
        format!("{:<40}{:>40}{:>40}", "", "in force", "changed"),
        row("all", preview),
    ];
    let rows = |list: &str| preview[list].as_array().into_iter().flatten();
    lines.extend(rows("types").map(|found| row(&text(&found["type"]), found)));
    lines.extend(rows("subjects").map(|subject| row(&text(&subject["subject"]), subject)));
    if preview["more_subjects"] != 0 {
        lines.push(format!("and {} more subjects", preview["more_subjects"]));
    }
    let not_covered: Vec<String> = rows("not_covered").map(text).collect();
    if !not_covered.is_empty() {
        let names = not_covered.join(", ");
        lines.push(format!(
            "not told by findings, and so not in these figures (see replay --compare): {names}"
        ));
    }
    lines
}

fn row(name: &str, of: &Value) -> String {
    format!("{:<40}{:>40}{:>40}", name, acts(&of["before"]), acts(&of["after"]))
}

/// What is done, without what is not.
fn acts(of: &Value) -> String {
    let counted = ["bans", "refused", "throttles", "alerts"].into_iter();
    let counted = counted.filter(|name| of[name].as_u64().is_some_and(|count| count > 0));
    let words: Vec<String> = counted.map(|name| format!("{} {name}", of[name])).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_preview_says_what_both_do_in_all_by_type_and_by_subject_and_what_it_leaves_out() {
        let none = json!({"bans": 0, "refused": 0, "throttles": 0, "alerts": 0});
        let some = json!({"bans": 1, "refused": 2, "throttles": 0, "alerts": 3});
        let preview = json!({
            "since": "s", "until": "u", "complete": false, "events": 9, "findings": 4, "before": none, "after": some,
            "types": [{"type": "COST_SPIKE", "before": none, "after": some}],
            "subjects": [{"subject": "key:a", "before": some, "after": none}],
            "more_subjects": 2, "not_covered": ["limits.tokens.1min"],
        });
        let lines = lines(&preview);
        assert_eq!(lines[0], "4 findings in 9 events from s to u; the oldest are left out");
        for (line, starts, ends) in [
            (2, "all", "1 bans, 2 refused, 3 alerts"),
            (3, "COST_SPIKE", "3 alerts"),
            (4, "key:a", "nothing"),
        ] {
            let line = &lines[line];
            assert!(line.starts_with(starts) && line.ends_with(ends), "{line}");
        }
        assert_eq!(lines[5], "and 2 more subjects");
        assert!(lines[6].ends_with("limits.tokens.1min"), "{}", lines[6]);
    }
}
