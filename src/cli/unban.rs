//! `keyward unban`: an operator's lifting of a ban.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::{Failure, block_on, client::Service, status};

/// Lift a ban or a throttle.
#[derive(Debug, Args)]
pub(super) struct Unban {
    /// key:<key_id>, ip:<address or prefix>, or project:<id>.
    subject: String,
    /// Why; it is kept in the event log.
    #[arg(long, default_value = "lifted from the command line")]
    reason: String,
    #[command(flatten)]
    service: Service,
}

impl Unban {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let body = json!({ "reason": self.reason });
        let request = service.request(Method::DELETE, &["v1", "bans", &self.subject]).json(&body);
        let standing = block_on(service.json(request))?;
        status::print_standing(&standing, self.service.json)
    }
}
