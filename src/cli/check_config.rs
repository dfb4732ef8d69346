//! `keyward check-config`: the settings in effect, without secrets; whether peppers, geo databases and the price list
//! can be read and every sink could be opened, all mistakes at once (which leaves nothing behind: whoever checks may
//! be somebody else than the service); and, where it is asked for, what a sink answers to one event.

use std::sync::Arc;

use clap::Args;

use super::{Failure, block_on, code, output, settings::Settings};
use crate::{
    app::{self, AppError},
    clock,
    config::Config,
    domain::actor::Actor,
    forward::{self, SinkContext, TrialError},
    gateway::{self, Upstreams},
    settings::SettingErrors,
    store::{
        StoreError,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};

/// What the test event of a sink says.
const SUMMARY: &str = "A test of this sink, sent with keyward check-config --send-test.";

/// Print the settings in effect.
#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    /// Send one test event to this sink, or ask this upstream of the gateway for its models, and tell what came back.
    #[arg(long, value_name = "SINK|UPSTREAM")]
    send_test: Option<String>,
    /// Print the settings as JSON, by their names in the file.
    #[arg(long, conflicts_with = "send_test")]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.settings.check()?;
        if let Some(sink) = &self.send_test {
            return block_on(send_test(&config, sink));
        }
        block_on(async {
            let mut failures: Vec<Failure> =
                app::probe(&config).await.into_iter().map(Failure::from).collect();
            let (context, mut errors) = (sink_context()?, SettingErrors::default());
            config.sinks.iter().for_each(|sink| errors.check(sink.probe(&context)));
            let opened = errors.finish(Upstreams::open(&config.gateway).map(drop)).map_err(AppError::from);
            failures.extend(opened.err().map(Failure::from));
            Failure::all(failures)
        })?;
        let config = config.masked();
        let text = if self.json { serde_json::to_string_pretty(&config)? } else { toml::to_string(&config)? };
        output::line(text.trim_end())?;
        Ok(())
    }
}

/// A sink that is only tried has no log behind it.
fn sink_context() -> Result<SinkContext, Failure> {
    Ok(SinkContext {
        store: Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).map_err(in_memory)?),
        now: Arc::new(clock::wall),
        log_event: Arc::new(|_| {}),
        replace_key: None,
        instance: "check-config".to_owned(),
        log_changes: None,
    })
}

fn in_memory(error: StoreError) -> Failure {
    Failure::new(code::SOFTWARE, error.to_string())
}

async fn send_test(config: &Config, name: &str) -> Result<(), Failure> {
    match gateway::probe(&config.gateway, name).await {
        Some(Ok(())) => return Ok(output::line(&format!("{name}: answered, and takes the key"))?),
        Some(Err(error)) => return Err(Failure::new(code::UNAVAILABLE, format!("{name}: {error}"))),
        None => {}
    }
    let Some(sink) = config.sinks.iter().find(|sink| sink.common().name == name) else {
        let upstreams = config.gateway.upstreams.iter().map(|upstream| upstream.name.as_str());
        let sinks = config.sinks.iter().map(|sink| sink.common().name.as_str());
        let names: Vec<&str> = sinks.chain(upstreams).collect();
        let known = if names.is_empty() { "none is configured".to_owned() } else { names.join(", ") };
        return Err(Failure::new(code::USAGE, format!("there is no sink or upstream {name}: {known}")));
    };
    let user = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let event = forward::test_event(SUMMARY, &Actor::command_line(user.as_deref()), clock::wall());
    match forward::try_sink(sink, &sink_context()?, &event).await {
        Ok(answer) => Ok(output::line(&format!("{name}: sent; {}", output::plain(&answer)))?),
        Err(TrialError::Setting(error)) => Err(AppError::Settings((*error).into()).into()),
        Err(error) => {
            let text = format!("{name}: {}", output::plain(&error.to_string()));
            Err(Failure::new(code::UNAVAILABLE, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::golden;

    #[test]
    fn the_test_of_a_sink_is_written_as_its_golden_file_says() {
        let by = Actor::command_line(Some("ada"));
        golden::check("", &forward::test_event(SUMMARY, &by, 1_772_442_000_000));
    }
}
