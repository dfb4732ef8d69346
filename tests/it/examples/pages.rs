//! The code blocks of the documentation.

use std::path::Path;

/// The page with the Python example.
pub(super) const README: &str = "README.md";
/// The page with all others.
pub(super) const MIDDLEWARE: &str = "docs/middleware.md";

fn read(page: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap()
}

/// The blocks of a text, each with its language.
fn blocks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'))
}

/// The part of a text that begins with a heading, up to the next of the same rank.
fn part<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n{heading}")).unwrap_or_else(|| panic!("no part {heading}")) + 1;
    let end = text[start..].find("\n## ").map_or(text.len(), |length| start + length);
    &text[start..end]
}

/// The only block in a language under a heading. The first of each pair in `changes` must stand in it, and becomes the
/// second.
pub(super) fn block(page: &str, heading: &str, language: &str, changes: &[(&str, String)]) -> String {
    let page = read(page);
    let mut found = blocks(part(&page, heading)).filter(|(of, _)| *of == language);
    let (_, text) = found.next().unwrap_or_else(|| panic!("no {language} under {heading}"));
    assert!(found.next().is_none(), "one {language} under {heading}");
    let mut text = format!("{text}\n");
    for (from, to) in changes {
        assert!(text.contains(from), "{from} stands in the {language} under {heading}");
        text = text.replace(from, to);
    }
    text
}

/// The languages of the blocks under a heading, or of a whole page, in their order.
pub(super) fn languages(page: &str, heading: Option<&str>) -> Vec<String> {
    let page = read(page);
    let text = heading.map_or(page.as_str(), |heading| part(&page, heading));
    blocks(text).map(|(language, _)| language.to_owned()).collect()
}
