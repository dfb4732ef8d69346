//! What the files show, made of figures that were written by hand.

use super::*;
use crate::{
    domain::DAY,
    replay::{Compared, DayRow, DetectorRow, Difference, Figures, SubjectRow},
    simulate::score::{Bar, Score, Table},
};

/// Monday 2026-03-02, at midnight in UTC.
const MONDAY: i64 = 1_772_409_600_000;
const HOSTILE: &str = "<script>alert(1)</script>\" onload='x'";

fn figures() -> Figures {
    let day = |n: i64, refused, throttled| DayRow {
        day: MONDAY + n * DAY,
        requests: 1_500,
        refused,
        throttled,
        bans: 1,
    };
    Figures {
        records: 4_500,
        bad_lines: 2,
        first_bad: Some("line 7: /source_ip is no address".to_owned()),
        span: Some((MONDAY, MONDAY + 9 * DAY)),
        observed: false,
        keys: 12,
        key_days: 31,
        refused: 1_234,
        keys_refused: 3,
        throttled: 56,
        keys_throttled: 2,
        keys_banned: 4,
        addresses_banned: 1,
        serious: 62,
        reasons: vec![("API_KEY_BANNED", 1_200), ("CRITICAL_ANOMALY_DETECTED", 34)],
        detectors: vec![DetectorRow {
            name: "IMPOSSIBLE_TRAVEL",
            findings: 78,
            serious: 77,
            keys: 5,
            banned: 4,
        }],
        days: vec![day(0, 1_000, 56), day(2, 200, 0), day(9, 34, 0)],
        subjects: vec![SubjectRow {
            subject: format!("key:{HOSTILE}"),
            requests: 1_300,
            refused: 1_200,
            throttled: 9,
            bans: 2,
            first_ban: Some(MONDAY + 3_600_000),
            detectors: vec!["IMPOSSIBLE_TRAVEL"],
            reasons: vec![("API_KEY_BANNED", 1_200)],
        }],
        more_subjects: 1_041,
    }
}

fn decided(policy: &str, figures: Figures) -> Decided {
    Decided { policy: policy.to_owned(), figures }
}

/// The text of a page without its tags, with a space where a tag was.
fn words(html: &str) -> String {
    let body = &html[html.find("<body").unwrap()..];
    let mut text = String::new();
    let mut is_tag = false;
    for c in body.chars() {
        match c {
            '<' => is_tag = true,
            '>' => {
                is_tag = false;
                text.push(' ');
            }
            c if !is_tag => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn replay_page(old: Option<(&Decided, &Compared)>) -> String {
    of_replay("records.jsonl", &decided("strict.toml (v2)", figures()), old, None).html().unwrap()
}

#[test]
fn a_replay_has_the_figures_of_its_text() {
    let (html, text) = (replay_page(None), figures().to_string());
    let shown = words(&html);
    for figure in
        ["4,500 records of 12 keys over 31 key-days", "1,234 of 3 keys", "56 of 2 keys", "4 and 1 address"]
    {
        assert!(shown.contains(figure), "{figure}: {shown}");
    }
    assert!(shown.contains("IMPOSSIBLE_TRAVEL 78 77 5 4"), "{shown}");
    assert!(shown.contains("2026-03-04 1,500 200 0 1"), "{shown}");
    assert!(shown.contains("and 1,041 more keys and addresses"), "{shown}");
    assert!(shown.contains("line 7: /source_ip is no address"), "{shown}");
    // Each number of the text is one of the file, but for thousands.
    let plain = shown.replace(',', "");
    for number in
        text.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|n| n.len() > 1 && *n != "00.000")
    {
        assert!(
            plain.contains(number.trim_end_matches('.')),
            "{number} of the text is not in the file:\n{text}\n{plain}"
        );
    }
}

#[test]
fn what_strangers_wrote_is_text_and_nothing_is_asked_of_anybody() {
    let compared = Compared {
        rows: vec![Difference {
            subject: format!("key:{HOSTILE}"),
            banned: "new only",
            refused: [3, 0],
            throttled: [0, 1],
            differing: 4,
            first: Some(format!("2026-03-02T09:01:00.000Z {HOSTILE}: IMPOSSIBLE_TRAVEL")),
        }],
        differing: 4,
        keys: 1,
        ..Compared::default()
    };
    let old = decided(HOSTILE, figures());
    let html = of_replay(HOSTILE, &decided(HOSTILE, figures()), Some((&old, &compared)), Some(HOSTILE))
        .html()
        .unwrap();
    assert!(!html.contains("<script") && !html.contains("onload='"), "{html}");
    assert!(html.contains("&#60;script&#62;alert(1)") || html.contains("&lt;script&gt;alert(1)"), "{html}");
    for outward in ["src=", "@import", "url(", "http://", "https://", "<script", "<iframe", "<form"] {
        assert!(!html.contains(outward), "{outward}");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn two_policies_stand_against_each_other() {
    let compared = Compared {
        totals: vec![("requests refused", [1_234, 7])],
        findings: vec![("IMPOSSIBLE_TRAVEL high".to_owned(), [77, 0])],
        differing: 1_227,
        keys: 3,
        new_only: 3,
        ..Compared::default()
    };
    let old = decided("lenient.toml (v1)", Figures { refused: 7, ..Figures::default() });
    let shown = words(&replay_page(Some((&old, &compared))));
    for figure in [
        "of 3 keys; old policy: 7",
        "Decided differently: 1,227 requests of 3 keys. New: strict.toml (v2). Old: lenient.toml (v1).",
        "requests refused 1,234 7",
        "IMPOSSIBLE_TRAVEL high 77 0",
        "Banned under the new policy only: 3; under the old only: 0",
        "New policy: strict.toml (v2)",
        "Old policy: lenient.toml (v1)",
    ] {
        assert!(shown.contains(figure), "{figure}: {shown}");
    }
}

#[test]
fn a_span_of_years_is_drawn_in_a_hundred_bars_at_most() {
    let days: Vec<DayRow> =
        [0, 500, 40_000].map(|n| DayRow { day: MONDAY + n * DAY, refused: 1, ..DayRow::default() }).into();
    let html =
        of_replay("-", &decided("p", Figures { days, ..Figures::default() }), None, None).html().unwrap();
    let bars = html.matches("<rect class=\"slot\"").count();
    assert!((90..=101).contains(&bars), "{bars}");
    assert_eq!(html.matches("<rect class=\"s-critical\"").count(), 3, "each of the three days has its bar");
}

#[test]
fn a_score_has_the_cells_of_its_text_and_every_bar_with_what_became_of_it() {
    let bars = [
        Bar { is_met: true, words: "all attacks: 98.5%".to_owned() },
        Bar { is_met: false, words: "benign keys: 3 of 4 were refused".to_owned() },
    ];
    let mut score = Score::default();
    let kind = score.attacks.entry("weekend_burst").or_default();
    (kind.attacks, kind.found) = (17, 16);
    let shown = words(&of_score("Generated.", &score, &bars).html().unwrap());
    assert!(shown.contains("benign keys: 3 of 4 were refused missed all attacks: 98.5% met"), "{shown}");
    assert!(shown.contains("Bars missed 1 of 2"), "{shown}");
    let table = Table::from(&score);
    for row in table.attacks.iter().chain(&table.benign) {
        let cells: Vec<&str> = row.cells.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        let line = format!("{} {}", row.name, cells.join(" "));
        assert!(shown.contains(&line), "{line}: {shown}");
        let text = score.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&line), "{line}: {text}");
    }
}
