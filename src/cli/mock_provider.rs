//! `keyward mock-provider`: a stand-in for a provider, to try the gateway without one.

use std::{net::SocketAddr, sync::Arc};

use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Failure, code, output, serve::Signals};
use crate::{config::Config, http, mock_provider};

/// Run a stand-in for a provider, on this machine alone.
#[derive(Debug, Args)]
pub(super) struct MockProvider {
    /// Address and port on the loopback interface.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8082")]
    listen: SocketAddr,
}

impl MockProvider {
    pub(super) fn run(self) -> Result<(), Failure> {
        if !self.listen.ip().is_loopback() {
            let hint =
                "--listen must be a loopback address such as 127.0.0.1:8082: the mock asks nobody for a key";
            return Err(Failure::new(code::USAGE, hint.to_owned()));
        }
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(self.listen))
    }
}

async fn serve(address: SocketAddr) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let settings = Config::load(&crate::config::Sources::default())?.server;
    let listener = TcpListener::bind(address).await?;
    let url = format!("http://{}", listener.local_addr()?);
    output::line(&format!(
        "keyward mock-provider listens on {url}\n  openai     base_url = \"{url}/v1\"\n  anthropic  base_url = \
         \"{url}\"\n  prompts    [mock output=50 delay_ms=200 status=429 retry_after=2 cut=3]: docs/gateway.md\n  \
         bill       {url}/mock/bill"
    ))?;
    let stop = CancellationToken::new();
    let router = mock_provider::router(Arc::default());
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { http::serve(listener, router, &settings, stop).await }
    });
    signals.next().await;
    stop.cancel();
    serving.await.map_err(|error| Failure::new(code::SOFTWARE, error.to_string()))??;
    Ok(())
}
