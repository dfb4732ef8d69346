//! Small readers of CEF, LEEF and RFC 5424, written from the rules of each and not from our writers.

use std::collections::BTreeMap;

/// What came out of a line.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The parts of the header.
    pub header: Vec<String>,
    /// The keys and values of the extension.
    pub pairs: BTreeMap<String, String>,
    /// The text behind the header.
    pub rest: String,
}

impl Parsed {
    fn put(&mut self, key: &str, value: String) {
        let twice = self.pairs.insert(key.to_owned(), value);
        assert!(twice.is_none(), "{key} comes twice");
    }
}

/// Seven header parts, `|` between, `\` before a literal `|` or `\`; then pairs. A pair begins at a key that stands at
/// the start or behind a space and is followed by an unescaped `=`.
pub(super) fn cef(line: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let (mut part, mut chars) = (String::new(), line.chars());
    while parsed.header.len() < 7 {
        match chars.next().expect("seven parts") {
            '|' => parsed.header.push(std::mem::take(&mut part)),
            '\\' => match chars.next() {
                Some(c @ ('|' | '\\')) => part.push(c),
                other => panic!("a header escapes {other:?}"),
            },
            c => part.push(c),
        }
    }
    let extension: Vec<char> = chars.collect();
    let starts = pair_starts(&extension);
    for (n, (key_at, equals)) in starts.iter().enumerate() {
        let end = starts.get(n + 1).map_or(extension.len(), |(next, _)| next - 1);
        let key: String = extension[*key_at..*equals].iter().collect();
        parsed.put(&key, cef_value(&extension[equals + 1..end]));
    }
    assert!(starts.first().is_none_or(|(at, _)| *at == 0), "something is in front of the first key");
    parsed
}

/// Where keys begin, and where their `=` is.
fn pair_starts(extension: &[char]) -> Vec<(usize, usize)> {
    let mut starts = Vec::new();
    let mut escaped = false;
    for (at, c) in extension.iter().enumerate() {
        if *c == '=' && !escaped {
            let key = extension[..at].iter().rposition(|c| !c.is_ascii_alphanumeric()).map_or(0, |p| p + 1);
            assert!(key < at && (key == 0 || extension[key - 1] == ' '), "an = is not escaped");
            starts.push((key, at));
        }
        escaped = *c == '\\' && !escaped;
    }
    starts
}

fn cef_value(text: &[char]) -> String {
    let mut chars = text.iter();
    let mut value = String::new();
    while let Some(c) = chars.next() {
        value.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(c @ ('\\' | '=')) => *c,
                other => panic!("an extension escapes {other:?}"),
            },
            c => *c,
        });
    }
    value
}

/// Six header parts, the last one the delimiter as a character; then pairs, split at the first `=`.
pub(super) fn leef(line: &str) -> Parsed {
    let mut parts = line.splitn(7, '|');
    let header: Vec<String> = parts.by_ref().take(6).map(str::to_owned).collect();
    let delimiter = header[5].clone();
    assert_eq!(delimiter.chars().count(), 1);
    let mut parsed = Parsed { header, ..Parsed::default() };
    for pair in parts.next().expect("attributes").split(&delimiter) {
        let (key, value) = pair.split_once('=').expect("a key and a value");
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric()), "{key} is one alphanumeric word");
        parsed.put(key, value.to_owned());
    }
    parsed
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [SD-ID PARAM="VALUE" ...] MSG`, by the grammar of section 6.
pub(super) fn syslog(line: &str) -> Parsed {
    let mut parts = line.splitn(7, ' ');
    let header: Vec<String> = parts.by_ref().take(6).map(str::to_owned).collect();
    let rest = parts.next().and_then(|rest| rest.strip_prefix('[')).expect("structured data");
    let longest = [usize::MAX, 24, 255, 48, 128, 32];
    for (part, most) in header.iter().zip(longest) {
        assert!(!part.is_empty() && part.len() <= most, "{part}");
        assert!(part.bytes().all(|b| (33..=126).contains(&b)), "{part} is printable ASCII");
    }
    let mut parsed = Parsed { header, ..Parsed::default() };
    let mut chars = rest.chars();
    let mut name = String::new();
    let sd_id: String = chars.by_ref().take_while(|c| *c != ' ').collect();
    assert!(!sd_id.is_empty() && sd_id.len() <= 32 && !sd_id.contains(['=', ']', '"']));
    parsed.header.push(sd_id);
    while let Some(c) = chars.next() {
        match c {
            ']' => break,
            ' ' => {}
            '=' => {
                assert_eq!(chars.next(), Some('"'));
                parsed.put(&std::mem::take(&mut name), sd_value(&mut chars));
            }
            c => name.push(c),
        }
    }
    assert_eq!(chars.next(), Some(' '));
    parsed.rest = chars.collect();
    parsed
}

fn sd_value(chars: &mut std::str::Chars<'_>) -> String {
    let mut value = String::new();
    loop {
        match chars.next().expect("the end of a value") {
            '"' => return value,
            ']' => panic!("a ] is not escaped"),
            '\\' => match chars.next() {
                Some(c @ ('"' | '\\' | ']')) => value.push(c),
                other => panic!("a value escapes {other:?}"),
            },
            c => value.push(c),
        }
    }
}
