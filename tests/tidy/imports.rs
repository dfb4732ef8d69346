//! No two files import each other: which files a file needs, by its paths, and where such paths come back to their
//! start.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, without_words};

/// A file as the path of its module, without `crate`.
type Module = Vec<String>;

/// Rooms whose `mod.rs` has what its children share beside what passes on to them, so that the two still need each
/// other: there, a child that the `mod.rs` names without `self::` is not seen. No room is added to them.
const PARENTS_NEED_CHILDREN: [&str; 15] = [
    "src/app/",
    "src/cli/",
    "src/config/",
    "src/demo/",
    "src/detect/",
    "src/domain/",
    "src/explain/",
    "src/geo/",
    "src/http/",
    "src/intake/",
    "src/pricing/",
    "src/replay/",
    "src/replay.rs",
    "src/simulate/",
    "src/store/",
];

/// The files that a file needs. What a `mod.rs` passes on counts as an import of the `mod.rs`.
fn imports(name: &str, text: &str, known: &BTreeSet<Module>, sees_children: bool) -> BTreeSet<Module> {
    let module = module_of(name);
    let code =
        without_words(&text[..text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len())]).join(" ");
    let mut found = BTreeSet::new();
    for statement in code.split(';') {
        let statement = format!(" {statement}");
        let (body, used) = statement.rsplit_once(" use ").unwrap_or((&statement, ""));
        let used = paths(&used.split_whitespace().collect::<String>());
        for path in used.into_iter().chain(inline_paths(body)) {
            found.extend(imported(&module, &path, known, sees_children));
        }
    }
    found
}

/// The file that a path leads to from a module: the longest part of the path that is a file other than its own.
fn imported(module: &Module, path: &str, known: &BTreeSet<Module>, sees_children: bool) -> Option<Module> {
    let mut parts = path.split("::").peekable();
    let mut base = module.clone();
    match parts.next()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
            while parts.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        child => {
            base.push(child.to_owned());
            if !sees_children || !known.contains(&base) {
                return None;
            }
        }
    }
    base.extend(parts.map(str::to_owned));
    while !base.is_empty() && !known.contains(&base) {
        base.pop();
    }
    Some(base).filter(|base| base != module && !base.is_empty())
}

/// The paths of a `use`, without braces.
fn paths(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let (mut depth, mut part, mut found) = (0, String::new(), Vec::new());
    for c in rest.strip_suffix('}').unwrap_or(rest).chars().chain([',']) {
        match c {
            ',' if depth == 0 => {
                found.extend(paths(&part).into_iter().filter(|path| !path.is_empty()));
                part.clear();
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        part.push(c);
    }
    found.into_iter().map(|path| format!("{head}{path}")).collect()
}

/// The paths that stand in code, outside of `use`. Those of `pub(in …)` need nothing.
fn inline_paths(code: &str) -> Vec<String> {
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let starts = |word: &str| word.contains("::");
    let own = |n: usize| n > 0 && words[n - 1] == "in";
    let found = words.iter().enumerate().filter(|(n, word)| starts(word) && !word.ends_with(':') && !own(*n));
    found.map(|(_, word)| (*word).to_owned()).collect()
}

fn module_of(name: &str) -> Module {
    let path = name.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "mod").map(str::to_owned).collect()
}

/// Without whoever imports nothing that is left, and whoever nothing imports that is left: what remains is on a way
/// from one cycle to another, or in one.
fn cycles(mut open: BTreeMap<Module, BTreeSet<Module>>) -> BTreeMap<Module, BTreeSet<Module>> {
    loop {
        let before = open.len();
        let left: BTreeSet<Module> = open.keys().cloned().collect();
        open.values_mut().for_each(|imported| imported.retain(|module| left.contains(module)));
        let needed: BTreeSet<Module> = open.values().flatten().cloned().collect();
        open.retain(|module, imported| !imported.is_empty() && needed.contains(module));
        if open.len() == before {
            return open;
        }
    }
}

fn cycles_of(
    files: &[(&str, &str)],
    sees_children: impl Fn(&str) -> bool,
) -> BTreeMap<Module, BTreeSet<Module>> {
    let known: BTreeSet<Module> = files.iter().map(|(name, _)| module_of(name)).collect();
    let of =
        |(name, text): &(&str, &str)| (module_of(name), imports(name, text, &known, sees_children(name)));
    cycles(files.iter().map(of).collect())
}

#[test]
fn no_two_files_need_each_other() {
    let is_test = |name: &str| name.contains("/tests") || name.ends_with("/samples.rs");
    let files: Vec<_> = files("src", ".rs").into_iter().filter(|(name, _)| !is_test(name)).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let sees = |name: &str| !PARENTS_NEED_CHILDREN.iter().any(|room| name.starts_with(room));
    let found = cycles_of(&files, sees);
    assert!(found.is_empty(), "files that import each other: {found:#?}");
}

#[test]
fn a_cycle_of_files_is_found_through_a_third_one_and_through_paths_in_code() {
    let files = [
        ("src/a/mod.rs", "use self::b::B;"),
        ("src/a/b.rs", "use crate::c::C;"),
        ("src/c.rs", "pub(in crate::e) fn c() { crate::a::a() }\nuse super::{d};"),
        ("src/d.rs", "fn d() {}"),
        ("src/e.rs", "use crate::a::A;"),
    ];
    let names = |found: BTreeMap<Module, _>| found.into_keys().map(|m| m.join("::")).collect::<Vec<_>>();
    assert_eq!(names(cycles_of(&files, |_| true)), ["a", "a::b", "c"]);
    assert!(cycles_of(&files[1..], |_| true).is_empty());
}

#[test]
fn a_child_that_a_room_names_without_self_is_one_that_it_needs() {
    for parent in ["mod b;\npub use b::{self, B};", "fn a() { b::b() }"] {
        let files = [("src/a/mod.rs", parent), ("src/a/b.rs", "use crate::{a::A};")];
        let found: Vec<_> = cycles_of(&files, |_| true).into_keys().collect();
        assert_eq!(found, [vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()]], "{parent}");
        assert!(cycles_of(&files, |_| false).is_empty());
    }
    let stranger = [("src/a/mod.rs", "use other::b;"), ("src/a/b.rs", "use crate::a::A;")];
    assert!(cycles_of(&stranger, |_| true).is_empty());
}
