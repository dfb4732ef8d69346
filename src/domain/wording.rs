//! Numbers, times and lists as people read them: for the sentences that say why something was found or done.

use super::{DAY, HOUR, MINUTE, Millis, SECOND, event::format_millis};

/// A whole number with its thousands apart: `9,264`.
pub fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with as many digits as matter: `18,528`, `6.2`, `0.31`; a whole one without a point.
pub fn number(value: f64) -> String {
    let (sign, size) = (if value < 0.0 { "-" } else { "" }, value.abs());
    let digits = if size >= 99.95 { 0 } else { 1 + usize::from(size < 0.995) };
    let scale = [1.0, 10.0, 100.0][digits];
    let rounded = (size * scale).round() / scale;
    if rounded.fract() == 0.0 {
        return format!("{sign}{}", whole(rounded as u64));
    }
    let text = format!("{rounded:.digits$}");
    format!("{sign}{}", text.trim_end_matches('0'))
}

/// So many of something: `1 day`, `4,210 requests`.
pub fn count(amount: f64, one: &str, many: &str) -> String {
    let shown = number(amount);
    let unit = if shown == "1" { one } else { many };
    format!("{shown} {unit}")
}

/// A length of time, in the largest unit of which it holds at least two, or exactly one: `30 minutes`, `1 hour`.
pub fn span(millis: Millis) -> String {
    if millis < SECOND {
        return "less than a second".to_owned();
    }
    let units = [(DAY, "day", "days"), (HOUR, "hour", "hours"), (MINUTE, "minute", "minutes")];
    let fits = |(unit, ..): &(Millis, &str, &str)| millis >= 2 * unit || millis == *unit;
    let (unit, one, many) = units.into_iter().find(fits).unwrap_or((SECOND, "second", "seconds"));
    count((millis as f64 / unit as f64).round(), one, many)
}

/// A moment as seen from `now`: `14:05 UTC` on the same day, else `2026-03-02 14:05 UTC`.
pub fn moment(at: Millis, now: Millis) -> String {
    let text = format_millis(at);
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    let time = time.get(..5).unwrap_or(time);
    if at.div_euclid(DAY) == now.div_euclid(DAY) {
        format!("{time} UTC")
    } else {
        format!("{day} {time} UTC")
    }
}

/// An amount of US dollars: `$12.40`, `$1,204`.
pub fn dollars(amount: f64) -> String {
    if amount.abs() >= 1_000.0 { format!("${}", number(amount)) } else { format!("${amount:.2}") }
}

/// A share, 0 to 1, in percent: `84 %`.
pub fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

/// Things in a row: `a`, `a and b`, `a, b and c`.
pub fn list<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [init @ .., last] => {
            let init: Vec<&str> = init.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", init.join(", "), last.as_ref())
        }
    }
}

/// `IMPOSSIBLE_TRAVEL` or `impossible_travel` as people write it: `Impossible travel`.
pub fn in_words(name: &str) -> String {
    let mut text = name.to_lowercase().replace('_', " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// Nano-dollars as an amount with two digits: `$12.40`; what is less than a cent, but not nothing, as `< $0.01`.
pub fn money(nanos: u64) -> String {
    if nanos > 0 && nanos < 10_000_000 {
        return "< $0.01".to_owned();
    }
    dollars(nanos as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_show_the_digits_that_matter() {
        let shown = [0.0, 0.314, 1.0, 6.25, 12.0, 99.96, 18_528.4, -4.2].map(number);
        assert_eq!(shown, ["0", "0.31", "1", "6.3", "12", "100", "18,528", "-4.2"]);
        assert_eq!([7, 999, 1_000, 1_234_567].map(whole), ["7", "999", "1,000", "1,234,567"]);
        assert_eq!([0.5, 12.4, 1_204.4].map(dollars), ["$0.50", "$12.40", "$1,204"]);
        assert_eq!(percent(0.84), "84 %");
    }

    #[test]
    fn spans_use_the_unit_that_people_would() {
        let shown = [0, SECOND, 90 * SECOND, 30 * MINUTE, HOUR, 90 * MINUTE, 47 * HOUR, 14 * DAY].map(span);
        let expected = [
            "less than a second",
            "1 second",
            "90 seconds",
            "30 minutes",
            "1 hour",
            "90 minutes",
            "47 hours",
            "14 days",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_moment_of_another_day_names_the_day() {
        let now = 1_772_442_802_123;
        assert_eq!(moment(now + 30 * MINUTE, now), "09:43 UTC");
        assert_eq!(moment(now + DAY, now), "2026-03-03 09:13 UTC");
    }

    #[test]
    fn lists_end_with_an_and() {
        assert_eq!([list(&["a"]), list(&["a", "b"]), list(&["a", "b", "c"])], ["a", "a and b", "a, b and c"]);
    }

    #[test]
    fn names_are_shown_as_people_write_them() {
        assert_eq!(in_words("IMPOSSIBLE_TRAVEL"), "Impossible travel");
        assert_eq!(in_words("temporary_ban"), "Temporary ban");
        assert_eq!(in_words(""), "");
        assert_eq!(in_words("é"), "é");
    }

    #[test]
    fn a_fraction_of_a_cent_is_not_nothing() {
        assert_eq!(money(0), "$0.00");
        assert_eq!(money(9_999_999), "< $0.01");
        assert_eq!(money(12_400_000_000), "$12.40");
    }
}
