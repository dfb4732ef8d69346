//! Countries, by their codes of ISO 3166-1 alpha-2.

/// Every code that ISO 3166-1 assigns (2026), in the order of the alphabet.
const ASSIGNED: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS \
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE \
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM \
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC \
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA \
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW \
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO \
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";
/// Codes that ISO 3166-1 leaves to its users and that geo databases know: Kosovo.
const OF_DATABASES: [&[u8; 2]; 1] = [b"XK"];
/// Codes that people write for a country that has another one.
const MISTAKEN: [(&[u8; 2], &str); 2] = [(b"UK", "GB"), (b"EL", "GR")];

/// Why a text is no country.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountryError {
    /// It is not two letters.
    #[error("must be a code of ISO 3166-1 alpha-2 such as SG")]
    Form,
    /// No country has the code.
    #[error("must be a code of ISO 3166-1 alpha-2 such as SG, and no country has {0}")]
    Unassigned(String),
    /// The country has another code.
    #[error("must be a code of ISO 3166-1 alpha-2 such as SG, and {0} is {1} there")]
    Mistaken(String, &'static str),
}

/// Reads a code that somebody writes, in letters of any case; it is returned in capitals.
///
/// # Errors
/// When no country has it.
pub fn read(text: &str) -> Result<[u8; 2], CountryError> {
    let code = letters(text).ok_or(CountryError::Form)?;
    if is_assigned(code) {
        return Ok(code);
    }
    let written = String::from_utf8_lossy(&code).into_owned();
    let meant = MISTAKEN.iter().find(|(mistaken, _)| **mistaken == code);
    Err(match meant {
        Some((_, right)) => CountryError::Mistaken(written, right),
        None => CountryError::Unassigned(written),
    })
}

/// Reads a code that a database or the store holds: any two letters, in capitals.
pub fn letters(text: &str) -> Option<[u8; 2]> {
    let code: [u8; 2] = text.as_bytes().try_into().ok()?;
    code.iter().all(u8::is_ascii_alphabetic).then(|| code.map(|letter| letter.to_ascii_uppercase()))
}

/// Whether a country has this code, in capitals.
pub fn is_assigned(code: [u8; 2]) -> bool {
    OF_DATABASES.contains(&&code) || ASSIGNED.split(' ').any(|assigned| assigned.as_bytes() == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_a_country_has_are_read_in_any_case() {
        for (text, code) in [("SG", b"SG"), ("de", b"DE"), ("Gb", b"GB"), ("ZW", b"ZW"), ("xk", b"XK")] {
            assert_eq!(read(text), Ok(*code), "{text}");
        }
        for text in ["ZZ", "XX", "aa", "EU", "QM"] {
            assert_eq!(read(text), Err(CountryError::Unassigned(text.to_uppercase())), "{text}");
        }
        for text in ["", "S", "SGP", "S1", "S ", "\u{e9}", "\u{212a}"] {
            assert_eq!(read(text), Err(CountryError::Form), "{text}");
        }
        let britain = read("uk").unwrap_err().to_string();
        assert!(britain.ends_with("UK is GB there"), "{britain}");
    }

    #[test]
    fn the_table_holds_the_249_codes_once_each_and_what_is_stored_may_have_others() {
        let all: Vec<&str> = ASSIGNED.split(' ').collect();
        assert_eq!(all.len(), 249);
        assert!(all.is_sorted_by(|one, next| one < next));
        assert!(all.iter().all(|code| letters(code).is_some_and(is_assigned)));
        assert_eq!(letters("zz"), Some(*b"ZZ"));
        assert_eq!(letters("Z"), None);
    }
}
