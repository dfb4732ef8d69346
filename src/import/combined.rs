//! The combined format of Apache and nginx, taken apart: `address ident user [time] "request" status bytes "referer"
//! "agent"`.

use serde_json::{Value, json};

/// The members of a line, by the names of nginx's variables; `None` where it is no such line.
pub(super) fn parse(line: &str) -> Option<Value> {
    let (head, rest) = line.split_once(" [")?;
    let (time, rest) = rest.split_once("] ")?;
    let mut head = head.splitn(3, ' ');
    let (address, _, user) = (head.next()?, head.next()?, head.next()?);
    let (request, rest) = quoted(rest)?;
    let mut numbers = rest.trim_start().splitn(3, ' ');
    let (status, _, rest) = (numbers.next()?, numbers.next()?, numbers.next().unwrap_or_default());
    let agent = quoted(rest).and_then(|(_, rest)| quoted(rest)).map(|(agent, _)| agent);
    // What a scanner sends may be no request line: then all of it stands for the path.
    let path = request.split(' ').nth(1).unwrap_or(&request);
    Some(json!({
        "remote_addr": address, "remote_user": user, "time_local": time, "request": request, "path": path,
        "status": status, "http_user_agent": agent,
    }))
}

/// A text in quotes at the beginning, without its escapes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start().strip_prefix('"')?;
    let (mut inside, mut escaped) = (String::new(), false);
    for (index, sign) in text.char_indices() {
        match sign {
            '"' if !escaped => return Some((inside, &text[index + 1..])),
            '\\' if !escaped => escaped = true,
            _ => {
                inside.push(sign);
                escaped = false;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_also_with_quotes_in_it_and_without_its_end() {
        let line =
            r#"203.0.113.7 - team-a [02/Mar/2026:09:13:22 +0000] "GET /a?b HTTP/1.1" 200 12 "-" "x \"y\" z""#;
        let parsed = parse(line).unwrap();
        for (name, value) in [
            ("remote_addr", "203.0.113.7"),
            ("remote_user", "team-a"),
            ("time_local", "02/Mar/2026:09:13:22 +0000"),
            ("path", "/a?b"),
            ("status", "200"),
            ("http_user_agent", "x \"y\" z"),
        ] {
            assert_eq!(parsed[name], value, "{name}");
        }
        let common = r#"203.0.113.7 - - [02/Mar/2026:09:13:22 +0000] "\x16\x03" 400 0"#;
        let parsed = parse(common).unwrap();
        assert_eq!((&parsed["status"], &parsed["http_user_agent"]), (&json!("400"), &Value::Null));
        for bad in ["", "x", "a b c [d", "a b c [d] \"e", "a b c [d] e f"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
