//! A week: security events, who was banned and how that ended, what detectors are worth, spend against budgets.

use super::page::{Grid, Page, Section};
use crate::{
    domain::{
        event::to_minute,
        money::Usd,
        wording::{count, in_words, money, percent, whole},
    },
    picture::{Bar, Bars},
    week::{Ban, Budget, EventCount, Noise, Outcome, Outlook, ProjectSpend, Week},
};

/// Bans that a table has at most.
const BANS: usize = 200;

/// The report of a week.
pub fn of_week(week: &Week) -> Page {
    let lead = format!("{} to {} UTC.", to_minute(&week.from), to_minute(&week.to));
    let mut page = Page::new("Week", lead);
    if !week.complete {
        let words = "The log of events was still being read: the newest are missing in the counts.";
        page.notices.push(words.to_owned());
    }
    tiles(&mut page, week);
    page.sections = vec![
        spend_by_day(week),
        Section::of("Spend by project", budget_note(week), projects(week)),
        events_by_day(week),
        Section::of("Bans", "The newest first.", bans(week)),
        Section::of(
            "Detectors",
            "What each found, and what analysts called it. The share of false alarms is of what they said.",
            detectors(week),
        ),
    ];
    page
}

fn tiles(page: &mut Page, week: &Week) {
    let spend = &week.spend;
    page.tile("Spent", money(spend.cost_usd.0), format!("{} the week before", money(spend.before_usd.0)));
    let expected = spend.month.as_ref().map_or_else(|| "not known".to_owned(), |m| money(m.expected_usd.0));
    page.tile("This month", expected, spend.month.as_ref().map_or_else(String::new, between));
    page.tile("Requests", whole(spend.requests), format!("{} refused", whole(spend.refused)));
    let holds = week.bans.iter().filter(|ban| ban.outcome == Outcome::Holds).count();
    let more = if week.more_bans { " or more" } else { "" };
    page.tile(
        "Bans",
        format!("{}{more}", whole(week.bans.len() as u64)),
        format!("{} in force now", whole(holds as u64)),
    );
    let (benign, all) =
        week.detectors.iter().fold((0, 0), |(b, all), row| (b + row.benign, all + row.benign + row.attack));
    let (share, note) = match all {
        0 => ("not known".to_owned(), "no analyst said what a finding was".to_owned()),
        all => (percent(benign as f64 / all as f64), format!("of {}", count(all as f64, "word", "words"))),
    };
    page.tile("False alarms", share, note);
}

fn between(month: &Outlook) -> String {
    match (month.low_usd, month.high_usd) {
        (Some(low), Some(high)) => {
            format!("expected by its end; {} to {} in eight of ten cases", money(low.0), money(high.0))
        }
        _ => "expected by its end".to_owned(),
    }
}

fn spend_by_day(week: &Week) -> Section {
    let mut grid = Grid::new(&["Day from", "Cost"], "Nothing was used.");
    let bar = |day: &crate::week::Day| Bar {
        title: format!("{}: {}", to_minute(&day.from), money(day.cost_usd.0)),
        label: day.from.get(5..10).unwrap_or_default().to_owned(),
        parts: vec![("s-use", day.cost_usd.0 as f64 / 1e9)],
    };
    for day in &week.spend.days {
        grid.row([to_minute(&day.from), exact(day.cost_usd)]);
    }
    let bars = week.spend.days.iter().map(bar).collect();
    let description = "Cost of each day in US dollars".to_owned();
    Section {
        part: Some("Spend".to_owned()),
        title: "By day".to_owned(),
        picture: Some(Bars { description, bars, marks: Vec::new() }.svg()),
        grid: Some(grid),
        is_folded: true,
        ..Section::default()
    }
}

fn budget_note(week: &Week) -> String {
    match week.more_projects {
        None => "There are too many projects to be told apart.".to_owned(),
        Some(_) => "Budgets stand as they do now; the month is what is expected by its end.".to_owned(),
    }
}

fn projects(week: &Week) -> Grid {
    let columns = ["Project", "Spent", "Week before", "Requests", "~Budgets", "Month"];
    let mut grid = Grid::new(&columns, "No project used anything.");
    for row in &week.projects {
        grid.row(project(row));
    }
    grid.leave_out(week.more_projects.unwrap_or(0), "projects");
    grid
}

fn project(row: &ProjectSpend) -> [String; 6] {
    let budgets: Vec<String> = row.budgets.iter().map(budget).collect();
    [
        row.project.clone().unwrap_or_else(|| "(none)".to_owned()),
        money(row.cost_usd.0),
        money(row.before_usd.0),
        whole(row.requests),
        if budgets.is_empty() { "-".to_owned() } else { budgets.join("; ") },
        row.month.as_ref().map_or_else(|| "-".to_owned(), |month| money(month.expected_usd.0)),
    ]
}

/// Such as `month: $88.00 of $100.00 (88 %)`.
fn budget(budget: &Budget) -> String {
    let of = budget.model.as_ref().map_or_else(String::new, |model| format!(" of {model}"));
    let (used, limit) = (budget.used_usd.0, budget.limit_usd.0);
    let share =
        if limit == 0 { String::new() } else { format!(" ({})", percent(used as f64 / limit as f64)) };
    format!("{}{of}: {} of {}{share}", budget.window, money(used), money(limit))
}

fn events_by_day(week: &Week) -> Section {
    let columns = ["Type", "Events", "Week before"];
    let mut grid = Grid::new(&columns, "There were no events.");
    for row in &week.events {
        grid.row([in_words(&row.kind), whole(row.count), whole(row.before)]);
    }
    let sum =
        |day: usize| -> u64 { week.events.iter().filter_map(|row: &EventCount| row.days.get(day)).sum() };
    let bar = |(n, day): (usize, &crate::week::Day)| Bar {
        title: format!("{}: {}", to_minute(&day.from), count(sum(n) as f64, "event", "events")),
        label: day.from.get(5..10).unwrap_or_default().to_owned(),
        parts: vec![("s-medium", sum(n) as f64)],
    };
    let bars = week.spend.days.iter().enumerate().map(bar).collect();
    let description = "Security events of each day".to_owned();
    Section {
        part: Some("Security".to_owned()),
        title: "Events".to_owned(),
        picture: Some(Bars { description, bars, marks: Vec::new() }.svg()),
        grid: Some(grid),
        ..Section::default()
    }
}

fn bans(week: &Week) -> Grid {
    let columns = ["Subject", "~Since", "~By", "~Why", "~How it ended", "~An analyst says"];
    let mut grid = Grid::new(&columns, "Nobody was banned.");
    for ban in week.bans.iter().take(BANS) {
        grid.row(row_of_ban(ban));
    }
    grid.leave_out(week.bans.len().saturating_sub(BANS), "bans");
    grid
}

fn row_of_ban(ban: &Ban) -> [String; 6] {
    let outcome = match ban.outcome {
        Outcome::Holds => "in force",
        Outcome::Expired => "ran out",
        Outcome::Lifted => "lifted",
        Outcome::Replaced => "banned again",
    };
    let ended = ban.ended.as_deref().map_or_else(String::new, |at| format!(", {}", to_minute(at)));
    let observed = if ban.observed { " (only observed)" } else { "" };
    [
        ban.subject.to_string(),
        to_minute(&ban.since),
        ban.by.clone(),
        if ban.by == "operator" { ban.reason.clone() } else { in_words(&ban.reason) },
        format!("{outcome}{ended}{observed}"),
        ban.verdict.map_or_else(|| "-".to_owned(), |verdict| verdict.name().to_owned()),
    ]
}

fn detectors(week: &Week) -> Grid {
    let columns = ["Finding", "~Mode", "Findings", "Benign", "Attack", "False alarms"];
    let mut grid = Grid::new(&columns, "No detector is on.");
    for row in &week.detectors {
        grid.row([
            in_words(row.kind.name()),
            row.mode.name().to_owned(),
            whole(row.findings),
            whole(row.benign),
            whole(row.attack),
            false_share(row),
        ]);
    }
    grid
}

fn false_share(row: &Noise) -> String {
    match row.benign + row.attack {
        0 => "-".to_owned(),
        all => percent(row.benign as f64 / all as f64),
    }
}

fn exact(amount: Usd) -> String {
    format!("${amount}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::week::{Day, Spend};

    const HOSTILE: &str = "<script>alert(1)</script>";

    fn week() -> Week {
        let day = |n| Day { from: format!("2026-03-0{n}T00:00:00.000Z"), cost_usd: Usd(1_500_000_000) };
        let spend = Spend {
            cost_usd: Usd(10_500_000_000),
            before_usd: Usd(9_000_000_000),
            requests: 1_234,
            refused: 5,
            tokens: 99,
            days: (2..9).map(day).collect(),
            month: Some(Outlook {
                expected_usd: Usd(45_000_000_000),
                low_usd: Some(Usd(40_000_000_000)),
                high_usd: Some(Usd(50_000_000_000)),
            }),
        };
        Week {
            from: "2026-03-02T00:00:00.000Z".to_owned(),
            to: "2026-03-09T00:00:00.000Z".to_owned(),
            complete: true,
            events: vec![EventCount {
                kind: "TEMPORARY_BAN".to_owned(),
                count: 7,
                before: 3,
                days: vec![1, 0, 2, 0, 0, 4, 0],
            }],
            bans: vec![Ban {
                subject: serde_json::from_value("key:thief".into()).unwrap(),
                since: "2026-03-04T09:13:22.123Z".to_owned(),
                until: None,
                by: "operator".to_owned(),
                reason: HOSTILE.to_owned(),
                observed: false,
                outcome: Outcome::Lifted,
                ended: Some("2026-03-04T10:00:00.000Z".to_owned()),
                verdict: Some(crate::domain::event::Verdict::Benign),
            }],
            more_bans: false,
            detectors: serde_json::from_value(serde_json::json!([{
                "type": "TRAFFIC_BURST", "detector": "burst", "mode": "shadow",
                "findings": 40, "benign": 3, "attack": 1,
            }]))
            .unwrap(),
            spend,
            projects: vec![ProjectSpend {
                project: Some("analytics".to_owned()),
                cost_usd: Usd(10_500_000_000),
                before_usd: Usd(0),
                requests: 1_234,
                month: None,
                budgets: vec![Budget {
                    window: "month".to_owned(),
                    model: None,
                    limit_usd: Usd(100_000_000_000),
                    used_usd: Usd(88_000_000_000),
                }],
            }],
            more_projects: Some(12),
        }
    }

    #[test]
    fn a_week_has_the_same_figures_as_a_file_and_as_text() {
        let page = of_week(&week());
        let text = page.text();
        let one_blank = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let plain = one_blank(&text);
        for figures in [
            "Week: 2026-03-02 00:00 to 2026-03-09 00:00 UTC.",
            "Spent: $10.50 ($9.00 the week before)",
            "This month: $45.00 (expected by its end; $40.00 to $50.00 in eight of ten cases)",
            "False alarms: 75 % (of 4 words)",
            "analytics $10.50 $0.00 1,234 month: $88.00 of $100.00 (88 %) -",
            "and 12 more projects",
            "Temporary ban 7 3",
            "key:thief 2026-03-04 09:13 operator <script>alert(1)</script> lifted, 2026-03-04 10:00 benign",
            "Traffic burst shadow 40 3 1 75 %",
        ] {
            assert!(plain.contains(figures), "{figures}: {text}");
        }
        let html = page.html().unwrap();
        assert!(!html.contains("<script"), "{html}");
        for figure in ["$88.00 of $100.00 (88 %)", "2026-03-04 09:13", "and 12 more projects", "4 events"] {
            assert!(html.contains(figure), "{figure}: {html}");
        }
    }

    #[test]
    fn the_figures_are_read_as_they_are_written() {
        let written = serde_json::to_string(&week()).unwrap();
        assert_eq!(serde_json::from_str::<Week>(&written).unwrap(), week());
    }
}
