//! Nobody can have Keyward refuse somebody else: of a victim's requests at most one in a hundred is refused when others
//! act in its name or behind its address, whatever the seed.

use std::sync::Arc;

use keyward::{
    config::{Config, Sources},
    geo::Geo,
    intake::Peppers,
    replay::Replay,
    simulate::{
        Labelled,
        denials::{STRANGER, in_a_name, office},
    },
};

/// Monday 2026-03-02.
const START: i64 = 1_772_409_600_000;
const SEEDS: std::ops::Range<u64> = 1..11;

/// What was refused of the rightful requests since the stranger came, of how many, and of the stranger's own.
#[derive(Debug, Default)]
struct Harm {
    refused: usize,
    rightful: usize,
    strangers_refused: usize,
}

async fn harm(traffic: Vec<Labelled>) -> Harm {
    let config = Config::load(&Sources::default()).unwrap();
    let peppers = Peppers::parse("0123456789abcdef0123").unwrap();
    let mut replay = Replay::new(&config, Arc::new(Geo::open(&[], true).unwrap()), peppers).await.unwrap();
    let mut harm = Harm::default();
    let mut come = false;
    for labelled in traffic {
        let record = replay.read(&serde_json::to_vec(&labelled.record).unwrap()).unwrap();
        let refused = usize::from(!replay.decide(&record).await.unwrap().allowed);
        come |= labelled.label == Some(STRANGER);
        match labelled.label {
            Some(_) => harm.strangers_refused += refused,
            None if come => {
                harm.refused += refused;
                harm.rightful += 1;
            }
            None => assert_eq!(refused, 0, "before the stranger came: {:?}", labelled.record),
        }
    }
    harm
}

#[tokio::test]
async fn made_up_keys_behind_an_offices_address_lock_nobody_out() {
    for seed in SEEDS {
        let harm = harm(office(seed, START)).await;
        assert!(harm.rightful > 300 && harm.strangers_refused > 0, "seed {seed}: {harm:?}");
        assert!(harm.refused * 100 <= harm.rightful, "seed {seed}: {harm:?}");
    }
}

#[tokio::test]
async fn wrong_credentials_in_a_keys_name_refuse_none_of_its_requests() {
    for seed in SEEDS {
        let harm = harm(in_a_name(seed, START)).await;
        assert!(harm.rightful > 50, "seed {seed}: {harm:?}");
        assert!(harm.refused * 100 <= harm.rightful, "seed {seed}: {harm:?}");
    }
}
