//! Amounts of money: whole nano-dollars, written and read as decimals. No floating point is ever in between, so that
//! sums of amounts are the amount of the sum.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Nano-dollars in a dollar, as a power of ten.
pub const NANO_PLACES: usize = 9;
/// Nano-dollars in a dollar.
pub const NANOS_PER_DOLLAR: u64 = 1_000_000_000;

/// An amount in US dollars, to the nano-dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(pub u64);

impl fmt::Display for Usd {
    /// The shortest decimal that is exactly this: `0`, `8`, `0.007456`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shortest(self.0, NANO_PLACES))
    }
}

/// The shortest decimal that is exactly so many units of 10^-`places`; at most 19 places.
pub fn shortest(units: u64, places: usize) -> String {
    let whole = 10_u64.saturating_pow(u32::try_from(places).unwrap_or(u32::MAX));
    let (whole, mut fraction, mut places) = (units / whole, units % whole, places);
    if fraction == 0 {
        return whole.to_string();
    }
    while fraction.is_multiple_of(10) {
        (fraction, places) = (fraction / 10, places - 1);
    }
    format!("{whole}.{fraction:0places$}")
}

impl Serialize for Usd {
    /// As text: a JSON number would be read as a binary fraction.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    /// Reads the text that it is written as.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        let nanos =
            decimal(&text, NANO_PLACES).map_err(|_| D::Error::custom("is no amount of US dollars"))?;
        Ok(Self(nanos.units))
    }
}

/// A decimal in units of a power of ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// Units, the half of one rounded up.
    pub units: u64,
    /// Whether nothing was rounded away.
    pub exact: bool,
}

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnAmount {
    /// It is no decimal number.
    Syntax,
    /// It is below zero.
    Negative,
    /// More units than fit.
    TooLarge,
}

/// Reads `8`, `8.00`, `.5` or `7.5e-3` as units of 10^-`places`, whatever its length.
///
/// # Errors
/// [`NotAnAmount`]. Minus zero is zero.
pub fn decimal(text: &str, places: usize) -> Result<Decimal, NotAnAmount> {
    let negative = text.starts_with('-');
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, power(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || whole.len() + fraction.len() == 0 {
        return Err(NotAnAmount::Syntax);
    }
    let zeros = whole.bytes().chain(fraction.bytes()).take_while(|b| *b == b'0').count();
    let digits = || whole.bytes().chain(fraction.bytes()).skip(zeros);
    if digits().next().is_none() {
        return Ok(Decimal { units: 0, exact: true });
    }
    if negative {
        return Err(NotAnAmount::Negative);
    }
    // Where the unit ends in the digits: so many of them are whole units.
    let end = signed(whole.len()).saturating_sub(signed(zeros)).saturating_add(exponent);
    let end = end.saturating_add(signed(places));
    let mut units = 0_u64;
    let mut rest = digits();
    for _ in 0..end.max(0) {
        let digit = rest.next().map_or(0, |b| u64::from(b - b'0'));
        units = units.checked_mul(10).and_then(|u| u.checked_add(digit)).ok_or(NotAnAmount::TooLarge)?;
    }
    // Before the first digit there are zeros only.
    let half = if end < 0 { 0 } else { rest.clone().next().map_or(0, |b| b - b'0') };
    let exact = rest.all(|b| b == b'0');
    let units = units.checked_add(u64::from(half >= 5)).ok_or(NotAnAmount::TooLarge)?;
    Ok(Decimal { units, exact })
}

/// An exponent; one beyond all bounds is as good as its bound.
fn power(text: &str) -> Result<i64, NotAnAmount> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NotAnAmount::Syntax);
    }
    let most = if text.starts_with('-') { i64::MIN / 4 } else { i64::MAX / 4 };
    Ok(text.parse().unwrap_or(most).clamp(i64::MIN / 4, i64::MAX / 4))
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(text: &str) -> Result<u64, NotAnAmount> {
        decimal(text, NANO_PLACES).map(|d| d.units)
    }

    #[test]
    fn decimals_are_read_exactly_in_every_form() {
        for (text, expected) in [
            ("0", 0),
            ("-0.0", 0),
            ("0e999999999999999999999", 0),
            ("8", 8_000_000_000),
            ("+8.00", 8_000_000_000),
            (".5", 500_000_000),
            ("5.", 5_000_000_000),
            ("0.007456", 7_456_000),
            ("7.456e-3", 7_456_000),
            ("7456E-6", 7_456_000),
            ("0.000000001", 1),
            ("1e-9", 1),
            ("1e9", 1_000_000_000_000_000_000),
            ("0.30000000000000004", 300_000_000),
            ("00012.5", 12_500_000_000),
        ] {
            assert_eq!(nanos(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_finer_than_a_unit_is_rounded_half_up_and_said() {
        for (text, units, exact) in [
            ("0.0000000004", 0, false),
            ("0.0000000005", 1, false),
            ("0.00000000149999999999999999999999", 1, false),
            ("0.0000000015", 2, false),
            ("1.5000000000000", 1_500_000_000, true),
            ("4e-11", 0, false),
            ("9e-10", 1, false),
            ("9e-11", 0, false),
            ("1e-99999999999999999999999", 0, false),
        ] {
            assert_eq!(decimal(text, NANO_PLACES), Ok(Decimal { units, exact }), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_told_apart() {
        for text in
            ["", ".", "-", "e5", "1e", "1e+", "1e1.5", "1,5", "0x10", "inf", "nan", "1_000", " 1", "--1"]
        {
            assert_eq!(nanos(text), Err(NotAnAmount::Syntax), "{text:?}");
        }
        for text in ["-1", "-0.000000000000001", "-1e400"] {
            assert_eq!(nanos(text), Err(NotAnAmount::Negative), "{text}");
        }
        for text in ["18446744073.709551616", "1e400", "1e99999999999999999999"] {
            assert_eq!(nanos(text), Err(NotAnAmount::TooLarge), "{text}");
        }
        assert_eq!(nanos("18446744073.709551615"), Ok(u64::MAX));
        assert_eq!(nanos("18446744073.7095516155"), Err(NotAnAmount::TooLarge));
    }

    #[test]
    fn amounts_are_written_as_the_shortest_decimal() {
        for (nanos, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (7_456_000, "0.007456"),
            (8_000_000_000, "8"),
            (1_500_000_000, "1.5"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            assert_eq!(Usd(nanos).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in any::<u64>()) {
            let expected = Decimal { units: nanos, exact: true };
            prop_assert_eq!(decimal(&Usd(nanos).to_string(), NANO_PLACES), Ok(expected));
        }

        #[test]
        fn an_exponent_moves_the_point_and_nothing_else(units in 0..1_000_000_u64, places in 0..12_usize) {
            let plain = format!("{}.{:0width$}", units, 0, width = places + 1);
            let scaled = format!("{}{}e-{places}", units, "0".repeat(places));
            prop_assert_eq!(decimal(&plain, NANO_PLACES), decimal(&scaled, NANO_PLACES));
        }
    }
}
