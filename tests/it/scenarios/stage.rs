//! Makes requests of what a file says.

use std::net::IpAddr;

use keyward::{
    domain::{DAY, HOUR, MINUTE, Millis},
    simulate::{
        Plan, WireRecord,
        atlas::{City, Sort},
        calendar::{Span, arrivals, is_weekend},
        random::Random,
    },
};

use super::format::{Key, Step, length};

/// The name of the key that a file describes.
pub(super) const KEY: &str = "the-key";

/// A key and where it is.
pub(super) struct Stage<'s> {
    pub key: &'s Key,
    pub home: &'static City,
    address: IpAddr,
    random: Random,
    requests: u64,
}

impl<'s> Stage<'s> {
    /// Sets the stage. The seed is fixed by what the file is called.
    pub(super) fn new(file: &str, key: &'s Key) -> Self {
        let mut random = Random::new(1).part(file, 0);
        let home = city(&key.home);
        let address = home.address(sort(&key.network), &mut random);
        Self { key, home, address, random, requests: 0 }
    }

    /// The local midnight at which a day begins; day 1 is Monday 2026-03-02.
    pub(super) fn midnight(&self, day: i64) -> Millis {
        Plan::THREE_WEEKS.start - self.home.offset + (day - 1) * DAY
    }

    /// When a step begins.
    pub(super) fn time(&self, at: &str, last: Millis) -> Millis {
        if let Some(later) = at.strip_prefix('+') {
            return last + length(later);
        }
        let parse = || {
            let (day, clock) = at.strip_prefix("day ")?.split_once(' ')?;
            let (hour, minute) = clock.split_once(':')?;
            let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
            Some(self.midnight(day.parse().ok()?) + hour * HOUR + minute * MINUTE)
        };
        parse().unwrap_or_else(|| panic!("{at}: write `day 11 14:30` or `+90m`"))
    }

    /// The holder's days.
    pub(super) fn history(&mut self) -> Vec<WireRecord> {
        let key = self.key;
        let mut times = Vec::new();
        for day in 1..=key.days {
            let midnight = self.midnight(day);
            if key.weekdays_only && is_weekend(midnight, self.home.offset) {
                continue;
            }
            let span = Span { from: midnight + key.hours[0] * HOUR, to: midnight + key.hours[1] * HOUR };
            times.extend(arrivals(&mut self.random, span, key.per_hour, |_| 1.0));
        }
        times.into_iter().map(|time| self.usual(time)).collect()
    }

    /// A request as usual.
    fn usual(&mut self, time: Millis) -> WireRecord {
        let tokens = self.random.lognormal(self.key.tokens, self.key.spread).round();
        self.requests += 1;
        WireRecord {
            request_id: self.requests,
            api_key: None,
            key_id: Some(KEY.into()),
            project_id: None,
            endpoint: self.key.endpoint.as_str().into(),
            model: Some(self.key.model.as_str().into()),
            tokens_used: tokens as u64,
            prompt_tokens: 0,
            completion_tokens: 0,
            latency_ms: 800.0,
            cost_usd: self.key.price.map(|price| tokens * price / 1e6),
            source_ip: self.address,
            user_agent: self.key.client.as_str().into(),
            response_status: 200,
            timestamp: time,
        }
    }

    /// The requests of a step that begins at `from`.
    pub(super) fn requests(&mut self, step: &Step, from: Millis) -> Vec<WireRecord> {
        let every = length(&step.every);
        let sort = sort(&step.network);
        let addresses: Vec<IpAddr> =
            step.from.iter().map(|name| city(name).address(sort, &mut self.random)).collect();
        (0..step.count)
            .map(|index| {
                let mut record = self.usual(from + index as Millis * every);
                let numbered = |text: &str| text.replace("{n}", &(index + 1).to_string());
                let turn = |of: usize| index % of.max(1);
                record.source_ip = addresses.get(turn(addresses.len())).copied().unwrap_or(self.address);
                record.response_status = step.status.get(turn(step.status.len())).copied().unwrap_or(200);
                if record.response_status >= 400 {
                    (record.tokens_used, record.cost_usd) = (0, record.cost_usd.map(|_| 0.0));
                }
                if let Some(tokens) = step.tokens {
                    record.tokens_used = tokens;
                    record.cost_usd = self.key.price.map(|price| tokens as f64 * price / 1e6);
                }
                record.cost_usd = step.cost_usd.or(record.cost_usd);
                if let Some(client) = &step.client {
                    record.user_agent = client.as_str().into();
                }
                if let Some(model) = &step.model {
                    record.model = Some(model.as_str().into());
                }
                if let Some(endpoint) = &step.endpoint {
                    record.endpoint = numbered(endpoint).replace("{words}", &words(index)).into();
                }
                if let Some(key) = &step.key {
                    record.key_id = Some(numbered(key).into());
                }
                record
            })
            .collect()
    }
}

/// Two words that are others for each of 64 requests.
fn words(index: usize) -> String {
    let word =
        |index: usize| ["admin", "users", "keys", "debug", "config", "export", "orgs", "audit"][index % 8];
    format!("{}/{}", word(index), word(index / 8))
}

fn city(name: &str) -> &'static City {
    City::all().iter().find(|city| city.name == name).unwrap_or_else(|| panic!("no city is called {name}"))
}

fn sort(name: &str) -> Sort {
    match name {
        "residential" => Sort::Residential,
        "mobile" => Sort::Mobile,
        "cloud" => Sort::Cloud,
        "vpn" => Sort::Vpn,
        "office" => Sort::Office,
        _ => panic!("no network is called {name}"),
    }
}
