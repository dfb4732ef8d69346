//! Where a setting stands in the text of a TOML file.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The line, from 1, of a setting by its dotted name, such as `sinks[1].batch`; of the nearest table or list around it
/// that the text has. `None` where the text has none of it.
pub fn line_of(text: &str, setting: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let start = in_table(root.get_ref(), setting)?;
    Some(text.get(..start)?.matches('\n').count() + 1)
}

/// Where `setting` begins within a table, in bytes.
fn in_table(table: &DeTable<'_>, setting: &str) -> Option<usize> {
    // A name may hold dots: the longest one that fits is meant.
    let fits = table.iter().filter_map(|(key, value)| {
        let rest = setting.strip_prefix(key.get_ref().as_ref())?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some((key, value, rest))
    });
    let (key, value, rest) = fits.min_by_key(|(_, _, rest)| rest.len())?;
    in_value(value, rest).or(Some(key.span().start))
}

/// Where what is left of a setting's name begins within a value, in bytes.
fn in_value(value: &Spanned<DeValue<'_>>, rest: &str) -> Option<usize> {
    match value.get_ref() {
        DeValue::Table(table) => in_table(table, rest.strip_prefix('.')?),
        DeValue::Array(items) => {
            let (index, rest) = rest.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            in_value(item, rest).or(Some(item.span().start))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[server]\nport = 7\n\n[[sinks]]\nname = 'a'\n\n[[sinks]]\nname = 'b'\nbatch = 0\n\
                        [plans.'a.b']\nlimits = [\n { unit = 'x' },\n { unit = 'y' },\n]\n";

    #[test]
    fn the_line_of_a_setting_is_found_and_else_that_of_what_is_around_it() {
        for (setting, line) in [
            ("server.port", Some(2)),
            ("server.prot", Some(1)),
            ("sinks[1].batch", Some(9)),
            ("sinks[1].batch[3]", Some(9)),
            ("sinks[1]", Some(7)),
            ("sinks[0].url", Some(4)),
            ("plans.a.b.limits[1].unit", Some(13)),
            ("plans.a.b.limit", Some(10)),
            ("log.level", None),
        ] {
            assert_eq!(line_of(TEXT, setting), line, "{setting}");
        }
        assert_eq!(
            line_of("sinks = [\n { name = 'a' },\n { name = 'b', batch = 0 },\n]", "sinks[1].batch"),
            Some(3)
        );
        assert_eq!(line_of("not toml", "not"), None);
    }
}
