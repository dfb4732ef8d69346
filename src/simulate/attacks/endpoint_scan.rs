//! A scan for endpoints: 403, 404 and 405 over the paths of a scanner's list.

use super::{ANYBODY, Attack, Tellable, Thief};
use crate::{
    domain::MINUTE,
    simulate::{calendar::Span, persona::fail, random::Random},
};

/// What scanners of the web look for anywhere.
const ANYWHERE: &[&str] = &[
    "/.env",
    "/.env.production",
    "/.git/config",
    "/.git/HEAD",
    "/.aws/credentials",
    "/wp-login.php",
    "/phpinfo.php",
    "/server-status",
    "/actuator/env",
    "/actuator/health",
    "/api-docs",
    "/swagger.json",
    "/openapi.json",
    "/graphql",
    "/console",
    "/debug/pprof/",
    "/metrics",
    "/login",
    "/admin",
    "/backup.zip",
    "/config.json",
    "/robots.txt",
    "/.well-known/openid-configuration",
];
/// Words that paths of interfaces are made of.
const WORDS: &[&str] = &[
    "admin",
    "users",
    "keys",
    "internal",
    "debug",
    "config",
    "export",
    "billing",
    "organizations",
    "tokens",
    "invites",
    "projects",
    "backup",
    "jobs",
    "roles",
    "audit_logs",
    "service_accounts",
    "usage",
    "files",
    "secrets",
];

pub(super) const ATTACK: Attack = Attack {
    name: "endpoint_scan",
    about: "403, 404 and 405 over the paths of a scanner's list",
    tellable: Tellable::Yes,
    victims: ANYBODY,
    strike: |random, victim| {
        let length = random.whole(3, 20) * MINUTE;
        let from = victim.start(random, length);
        let span = Span { from, to: from + length };
        // A stolen key, or a compromised machine of the holder's own.
        let thief = random.chance(0.6).then(|| Thief::abroad(random, victim, 200.0));
        let anywhere = random.between(0.0, 0.6);
        (0..random.whole(50, 180))
            .map(|_| {
                let time = span.moment(random);
                let mut record = match &thief {
                    Some(thief) => thief.request(random, victim, time),
                    None => victim.own_request(random, time),
                };
                record.endpoint = path(random, anywhere).into();
                record.model = None;
                let answers = [(404, 6.0), (403, 2.5), (405, 1.0), (401, 0.5), (200, 0.3)];
                match random.weighted(&answers).copied().unwrap_or(404) {
                    200 => record,
                    status => {
                        fail(&mut record, status);
                        record
                    }
                }
            })
            .collect()
    },
};

/// A path of a scanner's list, with the share of those that are not an interface's own.
fn path(random: &mut Random, anywhere: f64) -> String {
    if random.chance(anywhere) {
        return random.pick(ANYWHERE).copied().unwrap_or_default().to_owned();
    }
    let mut word = || random.pick(WORDS).copied().unwrap_or_default();
    let (first, second) = (word(), word());
    match random.below(5) {
        0 => format!("/v1/{first}"),
        1 => format!("/v{}/{first}/{second}", random.whole(1, 3)),
        2 => format!("/api/v1/{first}"),
        3 => format!("/v1/{first}/{}", random.whole(1, 9_999)),
        _ => format!("/v1/{first}?limit={}", random.whole(1, 100)),
    }
}
