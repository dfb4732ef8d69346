//! The command line: a file per command, and one line here to register it.

mod ban;
mod check_config;
mod client;
mod dead_letters;
mod demo;
mod duration;
mod events;
mod explain;
mod failure;
mod feedback;
mod gateway;
mod html_file;
mod import;
mod key;
mod limits;
mod migrate;
mod mock_provider;
mod openapi;
mod output;
mod policy;
mod policy_draft;
mod policy_preview;
mod prices;
mod reconcile;
mod replay;
mod report;
mod resource;
mod serve;
mod settings;
mod simulate;
mod status;
mod token;
mod unban;
mod usage;
mod when;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};

pub use failure::{Failure, code};

/// Watches API keys: sliding windows, learned behaviour, graduated responses.
#[derive(Debug, Parser)]
#[command(name = "keyward", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

const AFTER_HELP: &str = "Without a command, keyward serves. Each flag of `serve` is also a variable: KEYWARD_LISTEN, \
KEYWARD_STORE, KEYWARD_CONFIG, KEYWARD_GEOIP, KEYWARD_PRICES, KEYWARD_PRESET, \
                  KEYWARD_ENFORCEMENT, KEYWARD_PEPPER_FILE; any setting is \
KEYWARD__SECTION__KEY.\n\nExit codes: 0 good, 2 usage, 65 input refused, 66 not there, 69 store or service does not \
answer, 70 internal, 74 input/output, 77 not allowed, 78 configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (the default).
    Serve(serve::Serve),
    /// Run the service with its gateway to providers.
    Gateway(gateway::Gateway),
    /// Run a stand-in for a provider, to try the gateway.
    MockProvider(mock_provider::MockProvider),
    /// See it at work: a service with a past, under attack.
    Demo(demo::Demo),
    /// Print the settings in effect as TOML, or what is wrong with them.
    CheckConfig(check_config::CheckConfig),
    /// Ban a key, an address or a project, on a running service.
    Ban(ban::Ban),
    /// Lift a ban, on a running service.
    Unban(unban::Unban),
    /// Show how a running service is, or where a subject stands.
    Status(status::Status),
    /// Show security events of a running service.
    Events(events::Events),
    /// What detectors of a running service leave alone.
    #[command(subcommand)]
    Allow(resource::Act),
    /// Plans of a running service: limits that keys have by name.
    #[command(subcommand)]
    Plan(resource::Act),
    /// Projects of a running service.
    #[command(subcommand)]
    Project(resource::Act),
    /// Keys that are registered with a running service.
    #[command(subcommand)]
    Key(key::Key),
    /// The policy of a running service.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// A person's word about events of a running service.
    #[command(subcommand)]
    Feedback(feedback::Feedback),
    /// Show what was used, and what it cost.
    Usage(usage::Usage),
    /// Show how every limit of a key or a project stands.
    Limits(limits::Limits),
    /// Show whom a running service refused, or would have refused while it only observes.
    Report(report::Report),
    /// Tokens for the HTTP API.
    #[command(subcommand)]
    Token(token::Token),
    /// Make usage records of what others have logged.
    Import(import::Import),
    /// Hold a provider's bill against the ledger of a running service.
    Reconcile(reconcile::Reconcile),
    /// Price lists.
    #[command(subcommand)]
    Prices(prices::Prices),
    /// Print the OpenAPI document.
    Openapi(openapi::Openapi),
    /// Decide recorded traffic as it would have been decided.
    Replay(replay::Replay),
    /// Show why a request of recorded traffic is decided as it is.
    Explain(explain::Explain),
    /// Make labelled traffic, and score the decisions about it.
    Simulate(simulate::Simulate),
    /// Bring the store to this version's layout.
    Migrate(migrate::Migrate),
}

/// Runs a command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            say_usage(&error);
            return if error.use_stderr() { code::USAGE } else { code::GOOD }.into();
        }
    };
    match cli.command.unwrap_or(Command::Serve(cli.serve)).run() {
        Ok(()) => code::GOOD.into(),
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("keyward: {message}");
            }
            failure.code().into()
        }
    }
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Serve(command) => command.run(),
            Self::Gateway(command) => command.run(),
            Self::MockProvider(command) => command.run(),
            Self::Demo(command) => command.run(),
            Self::CheckConfig(command) => command.run(),
            Self::Ban(command) => command.run(),
            Self::Unban(command) => command.run(),
            Self::Status(command) => command.run(),
            Self::Events(command) => command.run(),
            Self::Allow(act) => act.run(&resource::ALLOW),
            Self::Plan(act) => act.run(&resource::PLAN),
            Self::Project(act) => act.run(&resource::PROJECT),
            Self::Key(command) => command.run(),
            Self::Policy(command) => command.run(),
            Self::Feedback(command) => command.run(),
            Self::Usage(command) => command.run(),
            Self::Limits(command) => command.run(),
            Self::Report(command) => command.run(),
            Self::Token(command) => command.run(),
            Self::Import(command) => command.run(),
            Self::Reconcile(command) => command.run(),
            Self::Prices(command) => command.run(),
            Self::Openapi(command) => command.run(),
            Self::Replay(command) => command.run(),
            Self::Explain(command) => command.run(),
            Self::Simulate(command) => command.run(),
            Self::Migrate(command) => command.run(),
        }
    }
}

/// Help is printed as it is; a mistake is one line, as every other error is.
fn say_usage(error: &clap::Error) {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        eprintln!("keyward: {}", one_line(&error.render().to_string()));
    }
}

/// What clap says of a mistake on several lines, without how the command is used.
fn one_line(said: &str) -> String {
    let of_usage = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = said.lines().map(str::trim).take_while(|line| !of_usage(line));
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let words = words.join(" ").replace(" tip: ", "; tip: ");
    format!("{} (--help says more)", words.strip_prefix("error: ").unwrap_or(&words))
}

/// A runtime on this thread alone: for commands that ask one thing and end.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves_and_takes_the_flags_of_serve() {
        let cli = Cli::try_parse_from(["keyward", "--listen", "127.0.0.1:0"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.settings.listen.as_deref(), Some("127.0.0.1:0"));
    }

    #[test]
    fn a_mistake_on_the_command_line_is_reported_in_one_line() {
        for (arguments, expected) in [
            (
                &["keyward", "serve", "--lisen"][..],
                "unexpected argument '--lisen' found; tip: a similar argument exists: '--listen'",
            ),
            (
                &["keyward", "ban", "key:a"],
                "the following required arguments were not provided: --for <LENGTH>",
            ),
            (
                &["keyward", "serve", "--preset", "x"],
                "invalid value 'x' for '--preset <PRESET>' [possible values: balanced, strict]",
            ),
        ] {
            let error = Cli::try_parse_from(arguments).unwrap_err();
            let line = one_line(&error.render().to_string());
            assert_eq!(line, format!("{expected} (--help says more)"));
        }
    }
}
