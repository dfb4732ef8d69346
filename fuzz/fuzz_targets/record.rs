//! Whatever comes in as a usage record, live or replayed, is taken or refused with words: it never panics, a refusal
//! names at least one thing that is wrong, and what is taken does not hold the secret.
#![no_main]

use std::sync::{Arc, LazyLock};

use keyward::{
    intake::{InputError, Intake, Peppers, WireRecord, parse},
    pricing::Prices,
};
use libfuzzer_sys::fuzz_target;

const NOW: i64 = 1_772_442_000_000;
const SKEW: i64 = 300_000;

static INTAKES: LazyLock<[Intake; 2]> = LazyLock::new(|| {
    let prices = Arc::new(Prices::open(None).expect("the built-in prices"));
    let peppers = || Peppers::parse("k2:0123456789abcdef0123,k1:fedcba98765432100123").expect("two peppers");
    [Intake::live(peppers(), prices.clone(), SKEW), Intake::replay(peppers(), prices)]
});

fuzz_target!(|bytes: &[u8]| {
    let wire = match parse::<WireRecord>(bytes) {
        Ok(wire) => wire,
        Err(error) => return explained(&error),
    };
    for intake in INTAKES.iter() {
        match intake.record(wire.clone(), NOW) {
            Ok(record) => {
                let secret = wire.api_key.as_deref().unwrap_or_default();
                // Short ones are in everything by chance.
                assert!(secret.len() < 20 || !record.key.to_string().contains(secret));
            }
            Err(error) => explained(&error),
        }
    }
});

fn explained(error: &InputError) {
    match error {
        InputError::Syntax(text) => assert!(!text.is_empty()),
        InputError::Fields(fields) => assert!(!fields.is_empty()),
    }
}
