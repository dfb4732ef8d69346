//! `keyward token`: tokens for the HTTP API. `new` makes one for the configuration; the others ask a running service.

use clap::{Args, Subcommand};

use reqwest::Method;
use serde_json::json;

use super::{
    Failure, block_on,
    client::Service,
    output,
    resource::{Delete, Kind, List},
    when::Expiry,
};
use crate::{
    clock,
    config::Token as Entry,
    domain::{actor::valid_token_id, event::format_millis},
    http::{Scope, new_token},
};

/// Tokens for the HTTP API.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token and print it, once, with its entry for the configuration.
    New(New),
    /// Make a token on a running service, and print it once. It needs no entry in the configuration.
    Create(Create),
    /// List the tokens of a running service.
    List(List),
    /// Revoke a token that was made on a running service.
    Revoke(Delete),
}

/// Tokens of a running service.
const TOKEN: Kind = Kind {
    one: "token",
    route: "tokens",
    takes_patches: false,
    in_pages: false,
    columns: &["id", "scopes", "expires", "source", "last_used"],
};

/// Make a token on a running service.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// What it may do: record, read, bans:write, admin or metrics. Repeat it, or separate by commas.
    #[arg(long, required = true, value_delimiter = ',', value_parser = scope)]
    scope: Vec<Scope>,
    /// Who it is for, as events will say it: 1 to 64 letters, digits, - or _. It is part of the token. Without it, a
    /// random one.
    #[arg(long, value_parser = token_id)]
    id: Option<String>,
    /// Until when: an RFC 3339 time, or a length such as 90d. Without it, for good.
    #[arg(long, value_parser = Expiry::read)]
    expires: Option<Expiry>,
    #[command(flatten)]
    service: Service,
}

/// Make a token.
#[derive(Debug, Args)]
pub(super) struct New {
    /// What it may do: record, read, bans:write, admin or metrics. Repeat it, or separate by commas.
    #[arg(long, required = true, value_delimiter = ',', value_parser = scope)]
    scope: Vec<Scope>,
    /// Who it is for, as events will say it: 1 to 64 letters, digits, - or _. It is part of the token. Without it, a
    /// random one.
    #[arg(long, value_parser = token_id)]
    id: Option<String>,
    /// Until when: an RFC 3339 time, or a length such as 90d. Without it, for good.
    #[arg(long, value_parser = Expiry::read)]
    expires: Option<Expiry>,
    /// Print JSON in place of lines.
    #[arg(long)]
    json: bool,
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(),
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(&TOKEN),
            Self::Revoke(revoke) => revoke.run(&TOKEN),
        }
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let scopes: Vec<&str> = self.scope.iter().map(|scope| scope.name()).collect();
        let mut body = json!({ "scopes": scopes });
        if let Some(id) = self.id {
            body["id"] = id.into();
        }
        if let Some(expires) = self.expires {
            body["expires"] = format_millis(expires.millis(clock::wall())).into();
        }
        let made = block_on(service.json(service.request(Method::POST, &["v1", "tokens"]).json(&body)))?;
        let token = made["token"].as_str().filter(|_| !self.service.json).map(output::plain);
        Ok(output::line(&token.unwrap_or_else(|| made.to_string()))?)
    }
}

impl New {
    fn run(self) -> Result<(), Failure> {
        let expires = self.expires.map(|expiry| expiry.millis(clock::wall()));
        let (token, entry) = new_token(self.id.as_deref(), &self.scope, expires)?;
        if self.json {
            output::line(&json!({ "token": token.as_str(), "entry": entry }).to_string())?;
            return Ok(());
        }
        output::line(&token)?;
        output::line(&format!("\n{}", snippet(&entry)))?;
        Ok(())
    }
}

fn snippet(entry: &Entry) -> String {
    let scopes: Vec<String> = entry.scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
    let scopes = scopes.join(", ");
    let (id, hash) = (&entry.id, &entry.hash);
    let expires = entry.expires.as_ref().map(|at| format!("expires = \"{at}\""));
    let line = expires.as_ref().map(|e| format!("{e}\n")).unwrap_or_default();
    let inline = expires.map(|e| format!(", {e}")).unwrap_or_default();
    format!(
        "# Keep the token above; it is shown nowhere else. This lets it in, in the file given with --config:\n\
         [[auth.tokens]]\nid = \"{id}\"\nhash = \"{hash}\"\nscopes = [{scopes}]\n{line}\n\
         # or in the environment, with every other token in the same list:\n\
         # KEYWARD__AUTH__TOKENS='[{{ id = \"{id}\", hash = \"{hash}\", scopes = [{scopes}]{inline} }}]'"
    )
}

fn scope(text: &str) -> Result<Scope, String> {
    text.parse().map_err(|_| "scopes are record, read, bans:write, admin, metrics".to_owned())
}

fn token_id(text: &str) -> Result<String, String> {
    let hint = "write 1 to 64 letters, digits, - or _; local and cli stand for something else";
    valid_token_id(text).then(|| text.to_owned()).ok_or_else(|| hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn the_snippet_is_a_configuration_that_lets_the_token_in() {
        let scopes = [Scope::Record, Scope::BansWrite];
        let (token, entry) = new_token(Some("alice"), &scopes, Some(1_830_297_600_000)).unwrap();
        assert!(token.starts_with("kw_alice.") && entry.id == "alice");
        let text = snippet(&entry);
        assert!(!text.contains(token.split_once('.').unwrap().1));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyward.toml");
        std::fs::write(&path, &text).unwrap();
        let from_file = Config::load(&Sources { file: Some(path), ..Sources::default() }).unwrap();
        let variable = text.lines().last().unwrap().trim_start_matches("# ");
        let (name, value) = variable.split_once('=').unwrap();
        let environment = vec![(name.to_owned(), value.trim_matches('\'').to_owned())];
        let from_environment = Config::load(&Sources { environment, ..Sources::default() }).unwrap();
        for config in [from_file, from_environment] {
            assert_eq!(config.auth.tokens[0].hash, entry.hash);
            assert_eq!(config.auth.tokens[0].expires.as_deref(), Some("2028-01-01T00:00:00.000Z"));
            crate::http::Auth::new(&config.auth).unwrap();
        }
    }
}
