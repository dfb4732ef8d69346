//! What the configuration says of sinks, and how it is told that it is wrong.

use super::*;
use crate::forward::Forwarder;

fn refused(text: &str) -> String {
    let read = SinkSettings::read(toml::from_str(text).unwrap());
    read.err().map(|error| error.to_string()).unwrap_or_else(|| panic!("{text} was taken"))
}

#[test]
fn what_is_wrong_is_named_with_its_hint() {
    let base = "name = \"hook\"\ntype = \"webhook\"\nurl = \"https://siem.example\"\n";
    for (more, named, hint) in [
        ("secert = \"env:X\"", "sinks.hook.secert", "did you mean `secret`?"),
        ("min_severty = \"low\"", "sinks.hook.min_severty", "did you mean `min_severity`?"),
        ("min_severity = \"hihg\"", "sinks.hook.min_severity", ""),
        ("start = \"begining\"", "sinks.hook.start", "did you mean `beginning`?"),
        (
            "types = [\"THROTTLED\"]\nexclude_types = [\"THROTTLED\"]",
            "sinks.hook.exclude_types",
            "leaves nothing",
        ),
        ("batch = 0", "sinks.hook.batch", "from 1 to 1000"),
        ("timeout_seconds = 301", "sinks.hook.timeout_seconds", "from 1 to 300"),
        ("types = [\"BANNED\"]", "sinks.hook.types", "unknown event type BANNED"),
        ("allow_networks = [\"10.0.0.0\"]", "sinks.hook.allow_networks", ""),
        ("format = \"cef\"", "sinks.hook.format", "json, ocsf or ecs"),
        ("secret = \"whsec_abc\"", "sinks.hook.secret", "env:<NAME>"),
        ("client_key_file = \"k\"", "sinks.hook.client_key_file", "together"),
    ] {
        let error = refused(&format!("{base}{more}"));
        assert!(error.starts_with(named) && error.contains(hint), "{error}");
        assert!(!error.contains("whsec_abc"), "{error}");
    }
    assert!(refused("name = \"a\"\ntype = \"webhok\"").contains("must be one of webhook"));
    assert!(refused("name = \"a b\"\ntype = \"stdout\"").contains("sinks.name must be 1 to 64"));
    let hook =
        "name = \"a\"\ntype = \"emergency_hook\"\nurl = \"https://a.example\"\ntypes = [\"KEY_CUT_OFF\"]";
    assert!(refused(hook).starts_with("sinks.a.secret is required"), "{}", refused(hook));
    assert!(refused("type = \"stdout\"").starts_with("sinks.name is required"));
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused_when_the_sink_is_opened() {
    let house = House::new();
    let open = |url: &str, more: &str| {
        let text = format!("name = \"hook\"\ntype = \"webhook\"\nurl = \"{url}\"\n{more}");
        let opened = SinkSettings::read(toml::from_str(&text).unwrap()).unwrap().open(&house.context("a"));
        opened.err().map(|error| error.to_string())
    };
    for (url, why) in [
        ("https://169.254.169.254/latest", "link-local"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://127.1/", "loopback"),
        ("https://0x7f000001/", "loopback"),
        ("http://siem.example/", "must begin with https://"),
        ("ftp://siem.example/", "must begin with https://"),
        ("https://user:pa55@siem.example/", "must not hold a user or password"),
        ("not a url", "must be a URL"),
        ("env:KEYWARD_NO_SUCH_URL", "KEYWARD_NO_SUCH_URL"),
    ] {
        let error = open(url, "").unwrap();
        assert!(error.starts_with("sinks.hook.url ") && error.contains(why), "{error}");
        assert!(!error.contains("pa55"));
    }
    assert_eq!(open("http://127.0.0.1:1/", "allow_networks = [\"127.0.0.0/8\"]"), None);
    assert_eq!(open("https://siem.example/", ""), None);
}

#[test]
fn a_filter_wants_by_severity_and_type() {
    let event = |kind, severity| Event::new(START, kind, severity, None);
    let filter = Filter { min_severity: Some(Severity::High), ..Filter::default() };
    assert!(filter.admits(&event(EventType::Throttled, Severity::Critical)));
    assert!(!filter.admits(&event(EventType::Throttled, Severity::Medium)));
}

#[tokio::test]
async fn every_sink_that_cannot_be_opened_is_named_and_then_nothing_is_sent() {
    let house = House::new();
    let sink = |name: &str, url: &str| {
        let text = format!("name = \"{name}\"\ntype = \"webhook\"\nurl = \"{url}\"");
        SinkSettings::read(toml::from_str(&text).unwrap()).unwrap()
    };
    let sinks = [
        sink("a", "env:KEYWARD_NO_SUCH_URL"),
        sink("b", "https://siem.example/"),
        sink("c", "https://127.0.0.1/"),
    ];
    let started = Forwarder::start(&sinks, &house.context("a"), &CancellationToken::new());
    let errors = started.err().unwrap().to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    assert!(lines[0].starts_with("sinks.a.url names the environment variable"), "{errors}");
    assert!(lines[1].starts_with("sinks.c.url leads to an address that is not allowed"), "{errors}");
}
