//! What comes from elsewhere: outages of a provider with every status there is, and paths with ids some of which are
//! not there.

use super::{Archetype, TOKENS_PER_DAY, interactive, service::Service};
use crate::{
    domain::{HOUR, Millis},
    simulate::{calendar::Span, persona::fail, random::Random, wire::WireRecord},
};

/// What a provider answers while it fails: credentials that it lost, models that it lost, throttles, errors.
const STATUSES: &[u16] = &[401, 403, 404, 429, 500, 502, 503, 504];

pub(super) const PROVIDER_OUTAGE: Archetype = Archetype {
    name: "provider_outage",
    about: "a person or a service whose provider answers nearly all requests with one status for hours, then well",
    rates: [0.1, 3.0],
    live: |random, span, rate| {
        let usual = if random.chance(0.3) { interactive::ARCHETYPE } else { super::service::ONE_REGION };
        let mut life = (usual.live)(random, span, rate);
        for _ in 0..random.whole(1, 3) {
            let from = span.after(span.from + span.length() / 5).moment(random);
            let outage = Span { from, to: from + (random.between(0.3, 6.0) * HOUR as f64) as Millis };
            let status = random.pick(STATUSES).copied().unwrap_or(503);
            for record in life.records.iter_mut().filter(|record| outage.contains(record.timestamp)) {
                if random.chance(0.95) {
                    fail(record, status);
                }
            }
        }
        life
    },
};

/// The path of a file by its number, as services make them.
pub(in crate::simulate) fn file_path(number: u64) -> String {
    format!("/v1/files/file-{number:08}")
}

pub(super) const FILE_SERVICE: Archetype = Archetype {
    name: "file_service",
    about: "a service that reads files by their ids, of which a few per cent are gone",
    rates: [0.2, 3.0],
    live: |random, span, rate| {
        let service = Service::draw(random, rate, TOKENS_PER_DAY);
        let times = service.times(random, span, 1.0, |_| 1.0);
        let mut life = service.into_life(random, times);
        let (reads, gone) = (random.between(0.3, 0.9), random.between(0.0, 0.05));
        for record in &mut life.records {
            if random.chance(reads) {
                read_file(random, record, gone);
            }
        }
        life
    },
};

/// Makes a request the reading of a file, which is gone as often as said.
fn read_file(random: &mut Random, record: &mut WireRecord, gone: f64) {
    record.endpoint = file_path(random.bits() % 40_000_000).into();
    record.model = None;
    let found = record.response_status == 200;
    if found && random.chance(gone) {
        fail(record, 404);
    }
    (record.tokens_used, record.prompt_tokens, record.completion_tokens) = (0, 0, 0);
    record.cost_usd = record.cost_usd.map(|_| 0.0);
}
