//! The unit of systemd: systemd's own opinion of it, and what it says about the binary.

use std::{path::Path, process::Command};

use super::{path, read, settings};
use crate::app::{keyward, run};

const UNIT: &str = "deploy/systemd/keyward.service";
const DROP_IN: &str = "deploy/systemd/keyward.service.d/pepper.conf";
const SETTINGS: &str = "deploy/systemd/keyward.toml";
/// Where the package puts the binary.
const BINARY: &str = "/usr/bin/keyward";
/// Most exposure that is let pass, in tenths of systemd's own scale from 0 to 10. Network access alone is 11.
const MOST_EXPOSED: &str = "--threshold=15";

/// Values of a setting of the unit, in the order of its lines.
fn values(name: &str) -> Vec<String> {
    let unit = read(UNIT);
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
}

fn number(name: &str) -> u64 {
    values(name)[0].parse().unwrap()
}

/// The unit with its drop-in, changed by `change`, as a machine has it where the binary of this build is installed.
fn install(directory: &Path, change: impl Fn(&str) -> String) -> String {
    let unit = read(UNIT).replace(BINARY, env!("CARGO_BIN_EXE_keyward"));
    let installed = directory.join("keyward.service");
    let drop_ins = directory.join("keyward.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(&installed, change(&unit)).unwrap();
    std::fs::copy(path(DROP_IN), drop_ins.join("pepper.conf")).unwrap();
    installed.display().to_string()
}

/// What systemd says of a unit, and whether it is content.
fn analyze(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).output().expect("systemd-analyze is needed: run scripts/manifests");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_its_drop_in() {
    let dir = tempfile::tempdir().unwrap();
    let (content, said) = analyze(&["verify", &install(dir.path(), str::to_owned)]);
    assert!(content && !said.contains("keyward"), "{said}");
}

#[test]
fn systemd_would_say_what_is_wrong_with_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let unit = install(dir.path(), |unit| unit.replace("ProtectSystem=", "ProtectSytem="));
    let (_, said) = analyze(&["verify", &unit]);
    assert!(said.contains("ProtectSytem"), "{said}");
}

#[test]
fn systemd_finds_the_unit_hardly_exposed_and_would_say_if_it_were() {
    let dir = tempfile::tempdir().unwrap();
    let (hardened, said) =
        analyze(&["security", "--offline=true", MOST_EXPOSED, &install(dir.path(), str::to_owned)]);
    assert!(hardened, "{said}");
    let dir = tempfile::tempdir().unwrap();
    let open = |unit: &str| unit.replace("CapabilityBoundingSet=\n", "\n").replace("PrivateUsers=yes", "");
    let (hardened, said) = analyze(&["security", "--offline=true", MOST_EXPOSED, &install(dir.path(), open)]);
    assert!(!hardened, "{said}");
}

#[test]
fn the_unit_leaves_room_for_the_connections_and_for_the_way_to_an_end() {
    let config = settings(path(SETTINGS), &[]);
    // Callers, proxies, two files for each connection of the gateway, operators, and what is not for callers.
    let files = 4 * config.server.max_connections as u64 + 64 + 160;
    assert!(number("LimitNOFILE") >= files, "{files} files are needed");
    let ending = config.server.shutdown_grace_seconds + 5;
    assert!(number("TimeoutStopSec") >= 2 * ending, "an end may take {ending} s, and sinks some more");
}

#[test]
fn the_unit_starts_the_service_with_settings_that_it_takes_and_in_a_directory_of_its_own() {
    let state = format!("/var/lib/{}", values("StateDirectory")[0]);
    assert_eq!(values("WorkingDirectory"), [state.as_str()]);
    let config = settings(path(SETTINGS), &[]);
    assert_eq!(config.embedded_directory(), Some(Path::new(&state)));
    assert_eq!(config.data_directory(), Path::new(&state));
    let start = values("ExecStart").remove(0);
    let arguments = start.strip_prefix(BINARY).unwrap().trim();
    let file = path(SETTINGS).display().to_string();
    let arguments = arguments.replace("/etc/keyward/keyward.toml", &file).replace("serve", "check-config");
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let (code, said, errors) = run(&mut keyward(&arguments));
    assert_eq!(code, 0, "{errors}");
    assert!(said.contains(&format!("embedded:{state}")), "{said}");
}

#[test]
fn what_another_start_does_not_mend_is_not_tried_again_and_a_store_that_is_away_is() {
    let final_codes = values("RestartPreventExitStatus").remove(0);
    let is_final = |code: i32| final_codes.split(' ').any(|known| known == code.to_string());
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("keyward.toml");
    std::fs::write(&wrong, "[server]\nlisten_on = 'x'").unwrap();
    let (wrong, missing) = (wrong.display().to_string(), dir.path().join("none").display().to_string());
    for arguments in [
        &["serve", "--lisen"][..],
        &["serve", "--config", &wrong],
        &["serve", "--config", &missing],
        &["serve", "--geoip", &wrong],
    ] {
        let (code, _, said) = run(keyward(arguments).current_dir(dir.path()));
        assert!(is_final(code), "{code}: {said}");
    }
    let away = ["serve", "--listen", "127.0.0.1:0", "--store", "redis://127.0.0.1:1"];
    let (code, _, said) = run(keyward(&away).current_dir(dir.path()));
    assert!(code != 0 && !is_final(code), "{code}: {said}");
    // A stop that lost something ends with 75, and is to be seen.
    assert!(values("SuccessExitStatus").is_empty() && !is_final(75));
}
