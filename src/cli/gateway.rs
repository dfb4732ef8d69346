//! `keyward gateway`: runs the service with its gateway, which must be configured.

use clap::Args;

use super::{Failure, code, serve};

/// Run the service with its gateway until it is told to end.
#[derive(Debug, Args)]
pub(super) struct Gateway {
    #[command(flatten)]
    serve: serve::Serve,
}

/// What a first configuration looks like.
const HINT: &str = "no upstream is configured, so there is nowhere to send requests: write [[gateway.upstreams]] and \
                    [[gateway.routes]] into the file of --config (docs/gateway.md). To try it without a provider, run \
                    `keyward mock-provider`";

impl Gateway {
    pub(super) fn run(self) -> Result<(), Failure> {
        if !self.serve.settings.load()?.gateway.is_on() {
            return Err(Failure::new(code::CONFIG, HINT.to_owned()));
        }
        self.serve.run()
    }
}
