//! What a script sees: exit codes, and messages that name the setting and the hint.

use super::{keyward, run};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/prices/shared.json");

#[test]
fn each_kind_of_failure_has_its_code_and_names_what_to_correct() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let store = format!("embedded:{}", path("data"));
    std::fs::write(path("unknown.toml"), "[server]\nlisten_on = 'x'").unwrap();
    std::fs::write(path("short-pepper"), "k1:short").unwrap();
    std::fs::write(path("not.mmdb"), "hello").unwrap();
    std::fs::write(path("prices.toml"), "[fallback]\ninput = 15\noutput = -1").unwrap();
    std::fs::write(path("no-types.toml"), "[[sinks]]\nname = 'out'\ntype = 'stdout'\ntypes = []").unwrap();
    std::fs::write(
        path("tokens.toml"),
        "[[auth.tokens]]\nid = 'a'\nhash = '12'\nscopes = []\n[policy]\npreset = 'stritc'",
    )
    .unwrap();
    let table: &[(&[&str], i32, &str)] = &[
        (&["--version"], 0, ""),
        (&["serve", "--lisen", "x"], 2, "--listen"),
        (&["ban", "key:a"], 2, "--for"),
        (&["token", "new", "--scope", "root"], 2, "scopes are"),
        (&["status", "--url", "ftp://x"], 2, "--url"),
        (&["check-config", "--config", &path("unknown.toml")], 78, "`server.listen_on`"),
        (&["serve", "--config", &path("unknown.toml")], 78, "`server.listen_on`"),
        (&["serve", "--listen", "0.0.0.0:0"], 78, "keyward token new"),
        (
            &["check-config", "--config", &path("tokens.toml")],
            78,
            "tokens.toml, line 3: `auth.tokens[0].hash`",
        ),
        (&["check-config", "--config", &path("tokens.toml")], 78, "line 6: `policy.preset` must be one of"),
        (
            &["serve", "--config", &path("tokens.toml")],
            78,
            "line 3: `auth.tokens[0].hash` must be 64 hex digits",
        ),
        (&["serve", "--config", &path("tokens.toml")], 78, "did you mean `strict`?"),
        (&["serve", "--config", &path("missing.toml")], 66, "missing.toml"),
        (&["serve", "--store", &store, "--geoip", &path("missing.mmdb")], 66, "missing.mmdb"),
        (&["serve", "--store", &store, "--geoip", &path("not.mmdb")], 65, "not.mmdb"),
        (&["check-config", "--prices", &path("missing-prices.toml")], 66, "missing-prices.toml"),
        (&["prices", "import", &path("missing.json")], 66, "missing.json"),
        (&["prices", "import", &path("not.mmdb")], 65, "is no JSON object of models and their prices"),
        (&["prices", "import", SHARED, "--mode", "sculpture"], 65, "has no entry that a price list can say"),
        (&["check-config", "--prices", &path("prices.toml")], 78, "prices.toml, line 3: `fallback.output`"),
        (
            &["serve", "--store", &store, "--prices", &path("prices.toml")],
            78,
            "`fallback.output` must not be below 0",
        ),
        (&["serve", "--store", &store, "--pepper-file", &path("missing-pepper")], 66, "missing-pepper"),
        (&["serve", "--store", &store, "--pepper-file", &path("short-pepper")], 78, "16 bytes"),
        (&["check-config", "--geoip", &path("missing.mmdb")], 66, "missing.mmdb"),
        (&["check-config", "--geoip", &path("not.mmdb")], 65, "not.mmdb"),
        (&["check-config", "--pepper-file", &path("missing-pepper")], 66, "missing-pepper"),
        (&["check-config", "--pepper-file", &path("short-pepper")], 78, "16 bytes"),
        (&["check-config", "--config", &path("no-types.toml")], 78, "sinks.out.types"),
        (&["token", "new", "--scope", "read", "--id", "a.b"], 2, "1 to 64 letters"),
        (&["status", "--url", "http://127.0.0.1:1"], 69, "keyward serve"),
        (&["explain", "--input", "-", "--request-id", "r", "--key-id", "sk-hidden"], 2, "public id"),
        (&["explain", "--input", "-", "--request-id", "r", "--key-id", "hidden key"], 2, "visible ASCII"),
        (&["ban", "key:sk-hidden", "--permanent", "--url", "http://127.0.0.1:1"], 69, "keyward serve"),
        (&["serve", "--listen", "127.0.0.1:0", "--store", "redis://127.0.0.1:1"], 69, "store.url"),
    ];
    for (arguments, code, words) in table {
        let (got, _, stderr) = run(keyward(arguments).current_dir(dir.path()));
        assert_eq!(got, *code, "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("hidden"), "{arguments:?}: {stderr}");
        let own = stderr.lines().filter(|line| line.starts_with("keyward: ") || line.starts_with("error:"));
        assert!(*code == 0 || own.count() == 1, "{arguments:?}: {stderr}");
        assert!(*code != 2 || stderr.lines().count() == 1, "{arguments:?}: {stderr}");
    }
}

#[test]
fn check_config_names_all_that_cannot_be_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("short-pepper"), "k1:short").unwrap();
    std::fs::write(path("not.mmdb"), "hello").unwrap();
    let (code, printed, stderr) = run(&mut keyward(&[
        "check-config",
        "--pepper-file",
        &path("short-pepper"),
        "--geoip",
        &path("not.mmdb"),
        "--geoip",
        &path("missing.mmdb"),
        "--prices",
        &path("missing-prices.toml"),
    ]));
    assert_eq!((code, printed.as_str()), (78, ""), "the code is that of the first");
    for words in ["16 bytes", "not.mmdb", "missing.mmdb", "missing-prices.toml"] {
        assert_eq!(stderr.lines().filter(|line| line.contains(words)).count(), 1, "{words}: {stderr}");
    }
}

#[test]
fn an_imported_price_list_can_be_used_and_what_is_not_in_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("prices.toml").display().to_string();
    let (code, printed, stderr) = run(&mut keyward(&["prices", "import", SHARED, "--output", &list]));
    assert_eq!((code, printed.as_str()), (0, ""), "{stderr}");
    let words = "house-below: not taken: `input_cost_per_token` is below 0";
    assert!(stderr.lines().any(|line| line == words), "{stderr}");
    assert_eq!(
        stderr.lines().last(),
        Some("24 entries: 10 taken exactly, 2 taken but for a part, 12 not taken")
    );
    assert_eq!(run(&mut keyward(&["check-config", "--prices", &list])).0, 0);
    let (_, printed, _) = run(&mut keyward(&["prices", "import", SHARED]));
    assert_eq!(printed, std::fs::read_to_string(&list).unwrap());
}

#[test]
fn without_a_store_the_data_are_in_the_state_directory_unless_they_are_here_already() {
    let dir = tempfile::tempdir().unwrap();
    let url = || {
        let mut command = keyward(&["check-config", "--json"]);
        command.current_dir(dir.path()).env("XDG_STATE_HOME", dir.path().join("state"));
        let (code, printed, stderr) = run(&mut command);
        assert_eq!(code, 0, "{stderr}");
        let settings: serde_json::Value = serde_json::from_str(&printed).unwrap();
        settings["store"]["url"].as_str().unwrap().to_owned()
    };
    assert_eq!(url(), format!("embedded:{}", dir.path().join("state/keyward").display()));
    std::fs::create_dir(dir.path().join("keyward-data")).unwrap();
    assert_eq!(url(), "embedded:./keyward-data");
}

#[test]
fn check_config_prints_settings_that_mean_the_same_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = keyward(&["check-config", "--preset", "strict"]);
    let (code, printed, stderr) = run(first.env("KEYWARD__POLICY__LADDER__BAN_SECONDS", "77"));
    assert_eq!(code, 0, "{stderr}");
    assert!(printed.contains("ban_seconds = 77"), "{printed}");
    let path = dir.path().join("printed.toml");
    std::fs::write(&path, &printed).unwrap();
    let (code, again, stderr) = run(&mut keyward(&["check-config", "--config", path.to_str().unwrap()]));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(again, printed);
    let (_, printed, _) = run(&mut keyward(&["check-config", "--store", "redis://ops:hunter2@db"]));
    assert!(printed.contains("redis://ops:***@db") && !printed.contains("hunter2"), "{printed}");
}

#[test]
fn checking_makes_no_file_and_shows_no_path_of_a_url() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let config = path("keyward.toml");
    let check = |sinks: &str| {
        std::fs::write(&config, sinks).unwrap();
        run(keyward(&["check-config", "--config", &config]).current_dir(dir.path()))
    };
    let file = |path: &str| format!("[[sinks]]\nname = 'log'\ntype = 'file'\npath = '{path}'\n");
    let hook = "[[sinks]]\nname = 'hook'\ntype = 'webhook'\nurl = 'https://siem.example:8443/in/hunter2?t=hunter2'\n";
    let (code, printed, stderr) = check(&format!("{}{hook}", file(&path("events.log"))));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "the service makes files and secrets, with its own user"
    );
    assert!(printed.contains("https://siem.example:8443/***") && !printed.contains("hunter2"), "{printed}");
    assert_eq!(check(&printed).0, 0, "what is printed is a configuration again");
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    let again = file(&path("logs/../events.log")).replace("'log'", "'again'");
    let (code, _, stderr) = check(&format!("{}{again}", file(&path("events.log"))));
    assert!(code == 78 && stderr.contains("sinks.again.path"), "{code} {stderr}");
    for nowhere in [path("missing/events.log"), path("keyward.toml/events.log"), path("")] {
        let (code, _, stderr) = check(&file(&nowhere));
        assert!(code == 78 && stderr.contains("sinks.log.path"), "{nowhere}: {code} {stderr}");
    }
}

#[test]
fn migrate_makes_the_layout_and_says_which_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", dir.path().join("data").display());
    let (code, before, _) = run(&mut keyward(&["migrate", "--dry-run", "--store", &store]));
    assert!(code == 0 && before.contains("layout none"), "{before}");
    assert!(!dir.path().join("data").exists(), "a dry run makes nothing");
    assert_eq!(run(&mut keyward(&["migrate", "--store", &store])).0, 0);
    let (_, after, _) = run(&mut keyward(&["migrate", "--dry-run", "--store", &store]));
    assert!(!after.contains("none"), "{after}");
}

#[test]
fn openapi_prints_the_document() {
    let (code, printed, _) = run(&mut keyward(&["openapi"]));
    let document: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(code, 0);
    assert!(document["paths"]["/v1/record"].is_object());
}
