//! Who is on stage: ordinary keys, and keys to which something happens.

use std::sync::Arc;

use super::{RATE, span};
use crate::{
    domain::Millis,
    simulate::{
        WireRecord,
        archetypes::{self, Life},
        atlas::{City, Sort},
        attacks::{self, Attack},
        random::Random,
    },
};

/// What a key is there for.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// The public name of the key.
    pub name: &'static str,
    /// What sort of key it is.
    pub archetype: &'static str,
    /// What happens to it; `None` for keys that are left in peace.
    pub attack: Option<&'static str>,
}

const fn peaceful(name: &'static str, archetype: &'static str) -> Role {
    Role { name, archetype, attack: None }
}

const fn attacked(name: &'static str, archetype: &'static str, attack: &'static str) -> Role {
    Role { name, archetype, attack: Some(attack) }
}

/// Everybody, the attacks in the order in which they happen. The first one is the key to try things with.
const ROLES: &[Role] = &[
    peaceful("alice-notebook", "interactive"),
    peaceful("bob-notebook", "interactive"),
    peaceful("carol-vpn", "vpn"),
    peaceful("dave-phone", "mobile"),
    peaceful("erin-traveller", "traveller"),
    peaceful("search-service", "service"),
    peaceful("billing-service", "service"),
    peaceful("global-service", "service_three_regions"),
    peaceful("flaky-service", "flaky_provider"),
    attacked("frank-notebook", "interactive", "stolen_key_far"),
    attacked("login-service", "service", "credential_stuffing"),
    attacked("crawler-service", "service", "runaway_loop"),
    attacked("gateway-service", "service", "brute_force"),
    attacked("summary-service", "service", "token_exhaustion"),
    attacked("grace-notebook", "interactive", "shared_in_public"),
    attacked("webhook-service", "service", "endpoint_scan"),
    attacked("reports-service", "service", "stolen_key_slow"),
];

/// Lives drawn for the first role until one fits.
const TRIES: u64 = 200;

/// A key with its holder and everything that the holder does.
pub struct Player {
    /// What it is there for.
    pub role: Role,
    /// Holder and requests, in order of time.
    pub life: Life,
    /// What happens to it.
    pub(super) attack: Option<&'static Attack>,
}

/// The keys of the demo, each with its holder and what happens to it.
pub struct Cast {
    /// The keys; the first is the one to try things with.
    pub players: Vec<Player>,
}

impl Cast {
    /// Draws everybody's life around a moment.
    pub fn draw(seed: u64, now: Millis) -> Self {
        let root = Random::new(seed);
        let players = ROLES.iter().enumerate();
        Self { players: players.filter_map(|(index, role)| Player::draw(&root, *role, index, now)).collect() }
    }

    /// The key to try things with, with one of its ordinary requests and one that a thief on another continent would
    /// make with a client of their own.
    pub fn to_try(&self, seed: u64) -> Option<(WireRecord, WireRecord)> {
        let player = self.players.first()?;
        let (last, home) = (player.life.records.last()?, player.life.persona.home);
        let mut random = Random::new(seed).part("thief", 0);
        let abroad = City::all().iter().filter(|city| city.continent != home.continent);
        let city = abroad.max_by(|a, b| home.km(a).total_cmp(&home.km(b)))?;
        let stolen = WireRecord {
            source_ip: city.address(Sort::Residential, &mut random),
            user_agent: "python-requests/2.31.0".into(),
            ..last.clone()
        };
        Some((last.clone(), stolen))
    }
}

impl Player {
    fn draw(root: &Random, role: Role, index: usize, now: Millis) -> Option<Self> {
        let archetype = archetypes::named(role.archetype)?;
        let attack = role.attack.and_then(|name| attacks::ALL.iter().find(|attack| attack.name == name));
        let draw = |attempt| {
            let mut random = root.part(role.name, attempt);
            (archetype.live)(&mut random, span(now), RATE)
        };
        // Whoever tries things with the first key shall see what the text promises: a settled key, one client.
        let fits = |life: &Life| index > 0 || (life.persona.clients.len() == 1 && life.records.len() > 150);
        let mut life = (0..TRIES).map(draw).find(fits)?;
        let name: Arc<str> = role.name.into();
        life.persona.key = name.clone();
        life.persona.named = true;
        for record in &mut life.records {
            (record.api_key, record.key_id) = (None, Some(name.clone()));
        }
        life.records.sort_by_key(|record| record.timestamp);
        Some(Self { role, life, attack })
    }
}
