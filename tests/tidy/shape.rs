//! The envelope: how long files, functions and lines may be, and how much doc comments say.

use std::collections::BTreeMap;

use super::{files, nobody, without_words};

/// Most characters of a line, of code and of comments.
const LINE: usize = 120;
/// Most lines of half of the files, and of nine in ten.
const FILES: [usize; 2] = [130, 300];
/// Most lines of half of the functions, and of nine in ten.
const FUNCTIONS: [usize; 2] = [9, 25];
/// No function is longer than this without being in [`LONG_FUNCTIONS`].
const FUNCTION: usize = 60;
/// Functions that may be longer, each with its reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    ("src/telemetry.rs::describe", "one line for each metric"),
    ("src/http/mod.rs::router_with", "one line for each route"),
    ("src/intake/mod.rs::record_where", "one line for each field of a record"),
    ("src/intake/wire.rs::spell", "one line for each field of a record, so that none is forgotten"),
];

/// The files of the program, without tests.
fn program() -> Vec<(String, String)> {
    let is_test = |name: &str| name.contains("/tests") || name.ends_with("/samples.rs");
    files("src", ".rs").into_iter().filter(|(name, _)| !is_test(name)).collect()
}

/// What half of `numbers` are at most, and what nine in ten are.
fn quantiles(mut numbers: Vec<usize>) -> [usize; 2] {
    numbers.sort_unstable();
    [numbers.len() / 2, numbers.len() * 9 / 10].map(|at| numbers[at])
}

/// Name and number of lines of each function with a body, from its `fn` to its last brace.
fn functions(text: &str) -> Vec<(String, usize)> {
    let code = text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |end| &text[..end]);
    let code = without_words(code).join("\n");
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let name: String = code[at + 3..].chars().take_while(|c| is_name(*c)).collect();
        if name.is_empty() || code[..at].ends_with(is_name) {
            continue;
        }
        if let Some(length) = body(&code[at..]) {
            found.push((name, code[at..at + length].lines().count()));
        }
    }
    found
}

/// Where the body of the function ends that begins here; `None` where it has none.
fn body(code: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(at + 1),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn files_and_functions_are_as_short_as_those_of_a_house_that_is_pleasant_to_live_in() {
    let program = program();
    let lines = quantiles(program.iter().map(|(_, text)| text.lines().count()).collect());
    let all: Vec<(String, usize)> = program
        .iter()
        .flat_map(|(file, text)| {
            functions(text).into_iter().map(move |(name, n)| (format!("{file}::{name}"), n))
        })
        .collect();
    let lengths = quantiles(all.iter().map(|(_, lines)| *lines).collect());
    println!("{} files: {lines:?}; {} functions: {lengths:?}", program.len(), all.len());
    assert!(
        lines.iter().zip(FILES).all(|(lines, most)| *lines <= most),
        "median and p90 of files: {lines:?}"
    );
    let within = lengths.iter().zip(FUNCTIONS).all(|(lines, most)| *lines <= most);
    assert!(within, "median and p90 of functions: {lengths:?}");
    let known = |name: &str| LONG_FUNCTIONS.iter().any(|(known, _)| *known == name);
    let long = all.iter().filter(|(name, lines)| *lines > FUNCTION && !known(name));
    nobody(long.map(|(name, lines)| format!("{name}: {lines} lines")).collect(), "functions are short");
}

#[test]
fn the_lines_of_a_function_are_those_from_its_name_to_its_last_brace() {
    let text = "trait A {\n    fn none(&self, a: [u8; 2]);\n}\nfn one() {}\n\
                pub fn five(\n    a: u8,\n) -> [u8; 2] {\n    if true { \"}\" }\n}\n";
    let found: BTreeMap<_, _> = functions(text).into_iter().collect();
    assert_eq!(found, BTreeMap::from([("one".to_owned(), 1), ("five".to_owned(), 5)]));
}

#[test]
fn no_line_is_longer_than_a_screen_is_wide() {
    let rooms = ["src", "tests", "examples", "benches"];
    let all = rooms.into_iter().flat_map(|room| files(room, ".rs"));
    let long = |(name, text): (String, String)| {
        let numbered = text.lines().enumerate().map(|(n, line)| (n + 1, line.chars().count()));
        let long: Vec<_> = numbered.filter(|(_, length)| *length > LINE).collect();
        long.into_iter().map(move |(n, length)| format!("{name}:{n}: {length} characters"))
    };
    nobody(all.flat_map(long).collect(), "lines have at most 120 characters");
}

/// How many words each doc comment has: the blocks of lines that begin with `///` or `//!`.
fn doc_lengths(text: &str) -> Vec<usize> {
    let (mut lengths, mut before) = (Vec::new(), None);
    for line in text.lines().map(str::trim_start) {
        let kind = ["///", "//!"].into_iter().find(|kind| line.starts_with(kind));
        if let Some(kind) = kind {
            if before != Some(kind) {
                lengths.push(0);
            }
            *lengths.last_mut().unwrap() += line[kind.len()..].split_whitespace().count();
        }
        before = kind;
    }
    lengths
}

/// The room of a file: the folder in `src`, or `src` itself for a file that is in none.
fn room_of(name: &str) -> &str {
    let mut slashes = name.match_indices('/').map(|(at, _)| at);
    slashes.nth(1).map_or("src", |end| &name[..end])
}

#[test]
fn in_every_room_at_most_one_doc_comment_in_fifty_has_three_words_or_fewer() {
    assert_eq!(doc_lengths("//! a b\n/// c\n/// d\nfn e() {}\n  /// f\n"), [2, 2, 1]);
    assert_eq!((room_of("src/a/b/c.rs"), room_of("src/d.rs")), ("src/a", "src"));
    let mut rooms = BTreeMap::<String, (usize, usize)>::new();
    for (name, text) in files("src", ".rs") {
        let lengths = doc_lengths(&text);
        let (short, all) = rooms.entry(room_of(&name).to_owned()).or_default();
        *short += lengths.iter().filter(|words| **words <= 3).count();
        *all += lengths.len();
    }
    for (room, (short, all)) in rooms {
        assert!(short * 50 <= all, "{room}: {short} of {all} say next to nothing");
    }
}
