//! `keyward ban`: an operator's ban.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::{Failure, block_on, client::Service, duration, status};

/// Ban a subject for a while or for good.
#[derive(Debug, Args)]
pub(super) struct Ban {
    /// key:<key_id>, ip:<address or prefix>, or project:<id>.
    subject: String,
    /// How long: 90s, 30m, 2h, 7d.
    #[arg(long = "for", value_name = "LENGTH", value_parser = duration::seconds, required_unless_present = "permanent")]
    length: Option<u64>,
    /// For good: until somebody lifts it.
    #[arg(long, conflicts_with = "length")]
    permanent: bool,
    /// Why; it is kept with the ban and in the event log.
    #[arg(long, default_value = "banned from the command line")]
    reason: String,
    /// Also a network wider than an IPv4 /8 or an IPv6 /16, which is refused otherwise.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    service: Service,
}

impl Ban {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let mut body = json!({ "duration_seconds": self.length, "reason": self.reason });
        if self.force {
            // Only then: a service of an earlier version does not know it.
            body["force"] = true.into();
        }
        let request = service.request(Method::PUT, &["v1", "bans", &self.subject]).json(&body);
        let standing = block_on(service.json(request))?;
        status::print_standing(&standing, self.service.json)
    }
}
