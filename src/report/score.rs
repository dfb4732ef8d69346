//! A score: how much of the attacks was found and how soon, what benign keys suffered, and which bars are met.

use super::page::{Grid, Page, Section};
use crate::{
    domain::wording::{count, whole},
    simulate::score::{Bar, Row, Score, Table},
};

/// The report of a score over the traffic that `of` describes, with the bars that it was held to.
pub fn of_score(of: &str, score: &Score, bars: &[Bar]) -> Page {
    let table = Table::from(score);
    let mut page = Page::new("Score of the detectors", of);
    tiles(&mut page, score, bars);
    let mut held = Grid::new(&["Bar", "~Met"], "No bars are set for this traffic.");
    let (missed, met): (Vec<_>, Vec<_>) = bars.iter().partition(|bar| !bar.is_met);
    for bar in missed.into_iter().chain(met) {
        held.row([bar.words.clone(), if bar.is_met { "met" } else { "missed" }.to_owned()]);
    }
    let after = "Median: from the first request of an attack to the one that gave it away; requests: how many that \
                 took. Through: of what attacks did after they were found, the share of requests and of cost that \
                 was let through. Owner: the share of the rightful owner's requests that was refused meanwhile.";
    let missed = match table.missed.is_empty() {
        true => "Every attack was found.".to_owned(),
        false => format!("Missed: {}.", table.missed.join(", ")),
    };
    let owners = "Refused: keys of which any request was refused, then the share of requests. In outage: refused while \
                  the provider failed. High findings count once per key, type and hour.";
    page.sections = vec![
        Section::of("Bars", "", held),
        Section::of("Attacks", after, grid("Attack", "~Found by", &Table::ATTACKS, &table.attacks)),
        Section::of("Attacked keys", missed, grid("Keys", "~Found by", &Table::ATTACKS, &table.victims)),
        Section::of("Benign keys", owners, grid("Keys", "~High findings", &Table::BENIGN, &table.benign)),
    ];
    page
}

fn tiles(page: &mut Page, score: &Score, bars: &[Bar]) {
    let (attacks, benign) = (score.all_attacks(), score.all_benign());
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    page.tile(
        "Attacks found",
        percent(attacks.recall()),
        format!("{} of {}", attacks.found, attacks.attacks),
    );
    page.tile(
        "Benign keys refused",
        whole(benign.keys_refused.into()),
        format!("of {}", count(benign.keys.into(), "key", "keys")),
    );
    page.tile("High findings per key-day", format!("{:.4}", benign.findings_per_key_day()), "of benign keys");
    let missed = bars.iter().filter(|bar| !bar.is_met).count();
    page.tile("Bars missed", missed.to_string(), format!("of {}", bars.len()));
}

fn grid(of: &str, findings: &str, columns: &[(&str, usize)], rows: &[Row]) -> Grid {
    let columns: Vec<String> = columns.iter().map(|(title, _)| capital(title)).collect();
    let titles: Vec<&str> =
        [of].into_iter().chain(columns.iter().map(String::as_str)).chain([findings]).collect();
    let mut grid = Grid::new(&titles, "There are none.");
    for row in rows {
        let cells = [row.name.clone()].into_iter().chain(row.cells.iter().cloned());
        grid.push(cells.chain([row.findings.clone()]), row.is_sum);
    }
    grid
}

fn capital(title: &str) -> String {
    let mut title = title.to_owned();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}
