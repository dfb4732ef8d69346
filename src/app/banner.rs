//! What a person reads at the start: where it listens, what it stands on, where to go next.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::Running;
use crate::{
    config::{Config, mask_url},
    engine::is_token,
    geo::GeoState,
    pricing::{PriceSource, PriceStatus},
};

/// Said where nothing is refused, so that nobody takes it for protection.
const OBSERVES: &str = "*** OBSERVES ONLY *** nothing is refused: bans, throttles and limits are said and not \
                        enforced. \
                        `keyward report` shows whom they would hit; `policy.enforcement = \"enforce\"` makes them hold";

/// The lines that `serve` prints when it is ready. The first holds the URL.
pub fn banner(config: &Config, running: &Running) -> String {
    let url = format!("http://{}", reachable(running.address));
    let open = running.is_open();
    let header = if open { "" } else { " -H 'authorization: Bearer <token>'" };
    let mut text = format!("keyward {} listens on {url}\n", env!("CARGO_PKG_VERSION"));
    // Writing to a String cannot fail.
    if running.engine.policy().observes() {
        let _ = writeln!(text, "  {OBSERVES}");
    }
    if running.address.ip().is_unspecified() {
        let _ = writeln!(text, "  listens  on every address of this machine ({})", running.address);
    }
    if let Some(admin) = running.admin_address {
        let _ = writeln!(text, "  admin    http://{}: operators are answered there alone", reachable(admin));
    }
    let _ = writeln!(text, "  store    {}", mask_url(&config.store.url));
    let _ = writeln!(text, "  geo      {}", geo(running));
    let _ = writeln!(text, "  prices   {}", prices(&running.prices));
    if let Some(sinks) = sinks(config) {
        let _ = writeln!(text, "  sinks    {sinks}");
    }
    if let Some(address) = running.gateway_address() {
        let _ = writeln!(text, "  gateway  {}", gateway(config, address));
    }
    let _ = writeln!(text, "  access   {}", access(tokens(config, running), open));
    let _ = writeln!(text, "  docs     {url}/docs");
    let _ = writeln!(
        text,
        "  try      curl -s {url}/v1/record{header} -H 'content-type: application/json' \
         -d '{{\"api_key\":\"sk-test\",\"endpoint\":\"/v1/chat/completions\",\"tokens_used\":900,\
         \"source_ip\":\"203.0.113.7\"}}'"
    );
    text
}

/// An address that can be called: `0.0.0.0` and `[::]` name every interface, and no host that the service answers to.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn geo(running: &Running) -> String {
    let names: Vec<&str> = running.geo.files.iter().map(|file| file.name.as_str()).collect();
    match &running.geo.state {
        GeoState::Demo => {
            "demo database: it knows documentation addresses only, so that travel is not detected for real traffic. \
             Name real files with --geoip; geoip/README.md says where to get them"
                .to_owned()
        }
        GeoState::NoCoordinates => {
            "no file names coordinates: travel is not detected. Add a city database with --geoip".to_owned()
        },
        GeoState::Off => "no database: what depends on places is not detected".to_owned(),
        GeoState::Ready => names.join(", "),
        GeoState::Stale { error } => format!("{} ({error})", names.join(", ")),
    }
}

fn prices(status: &PriceStatus) -> String {
    let models = status.models;
    match &status.source {
        PriceSource::BuiltIn => {
            format!("built-in list of {models} models. Name your own with --prices; docs/costs.md")
        }
        PriceSource::File => format!("{models} models"),
        PriceSource::Stale { error } => format!("{models} models ({error})"),
    }
}

/// `siem (syslog), desk (slack)`: names and kinds alone, as URLs may hold secrets. Nothing where there are none.
fn sinks(config: &Config) -> Option<String> {
    let named = config.sinks.iter().map(|sink| format!("{} ({})", sink.common().name, sink.common().kind));
    let names: Vec<String> = named.collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Where the gateway listens, and the names of its upstreams.
fn gateway(config: &Config, address: SocketAddr) -> String {
    let names: Vec<&str> = config.gateway.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    format!("http://{} to {}; docs/gateway.md", reachable(address), names.join(", "))
}

/// Tokens of the configuration and of the store.
fn tokens(config: &Config, running: &Running) -> usize {
    let stored = running.engine.stored_tokens();
    config.auth.tokens.len() + stored.borrow().iter().filter(|document| is_token(document)).count()
}

fn access(tokens: usize, is_open: bool) -> String {
    match tokens {
        0 if !is_open => "there is no token any more, so that nobody may do anything: put one under [auth]; \
                          `keyward token new` makes one"
            .to_owned(),
        0 => "no token is configured: everybody on this machine may do everything, and nobody else reaches it. \
              `keyward token new` makes one"
            .to_owned(),
        1 => "1 token".to_owned(),
        many => format!("{many} tokens"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn the_url_is_one_that_the_service_answers_to() {
        let shown = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(shown("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(shown("[::]:8080"), "[::1]:8080");
        assert_eq!(shown("10.0.0.1:8080"), "10.0.0.1:8080");
    }

    #[test]
    fn sinks_are_named_with_their_kinds_and_nothing_of_their_urls() {
        let with = |sinks: &str| {
            let sinks = toml::from_str::<toml::Table>(sinks).unwrap().remove("sinks").unwrap();
            Config::load(&Sources { flags: vec![("--sinks", "sinks", sinks)], ..Sources::default() }).unwrap()
        };
        assert_eq!(super::sinks(&with("sinks = []")), None);
        let two = with(
            r#"
            sinks = [
              { name = "siem", type = "syslog", address = "logs.example:6514" },
              { name = "desk", type = "slack", url = "file:/run/secrets/slack-url" },
            ]"#,
        );
        assert_eq!(super::sinks(&two).unwrap(), "siem (syslog), desk (slack)");
    }
}
