//! The code blocks of the documentation.

/// The page with the Python example.
pub const README: &str = include_str!("../../../README.md");
/// The page with all others.
pub const MIDDLEWARE: &str = include_str!("../../../docs/middleware.md");

/// The blocks of a text, each with its language.
fn blocks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'))
}

/// The part of a page that begins with a heading, up to the next of the same rank.
fn part<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(&format!("\n{heading}")).unwrap_or_else(|| panic!("no part {heading}")) + 1;
    let end = page[start..].find("\n## ").map_or(page.len(), |length| start + length);
    &page[start..end]
}

/// The only block in a language under a heading. What is in `changes` must stand in it, and is put in its place's stead.
pub fn block(page: &str, heading: &str, language: &str, changes: &[(&str, String)]) -> String {
    let mut found = blocks(part(page, heading)).filter(|(of, _)| *of == language);
    let (_, text) = found.next().unwrap_or_else(|| panic!("no {language} under {heading}"));
    assert!(found.next().is_none(), "one {language} under {heading}");
    let mut text = format!("{text}\n");
    for (from, to) in changes {
        assert!(text.contains(from), "{from} stands in the {language} under {heading}");
        text = text.replace(from, to);
    }
    text
}

/// The languages of the blocks under a heading, in their order.
pub fn languages<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    all_languages(part(page, heading))
}

/// The languages of all blocks of a text, in their order.
pub fn all_languages(text: &str) -> Vec<&str> {
    blocks(text).map(|(language, _)| language).collect()
}
