//! The clients in `clients/`, by their own tests and with their own types, against the binary that is built here.
//! `scripts/clients` provides the frameworks that they are for.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::app::run;

/// What `scripts/clients` has put there.
pub(crate) fn provided(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients").join(path);
    assert!(path.exists(), "{} is needed: run scripts/clients", path.display());
    path
}

/// Runs a program in the folder of a client; it must end well.
fn passes(client: &str, program: &Path, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(client));
    command.env("KEYWARD_BIN", env!("CARGO_BIN_EXE_keyward")).env("CLIENTS_NODE", provided("node"));
    let (code, said, errors) = run(command.env("PYTHONDONTWRITEBYTECODE", "1"));
    assert_eq!(code, 0, "{said}\n{errors}");
}

fn python(arguments: &[&str]) {
    passes("python", &provided("venv/bin/python"), &[&["-m"][..], arguments].concat());
}

fn node(arguments: &[&str]) {
    passes("typescript", Path::new("node"), arguments);
}

#[test]
fn the_python_middleware_guards_each_framework() {
    python(&["pytest", "-n", "2", "tests/test_middleware.py"]);
}

#[test]
fn the_python_client_holds_settles_and_knows_bans() {
    python(&[
        "pytest",
        "-n",
        "2",
        "tests",
        "--ignore",
        "tests/test_middleware.py",
        "--ignore",
        "tests/test_litellm.py",
    ]);
}

#[test]
fn the_proxy_of_litellm_settles_to_the_token() {
    python(&["pytest", "tests/test_litellm.py"]);
}

#[test]
fn the_types_of_the_python_client_are_strict() {
    python(&["mypy", "--cache-dir", "/dev/null"]);
}

#[test]
fn the_typescript_client_passes_its_own_tests() {
    let suites = ["client", "middleware", "package", "providers", "request"]
        .map(|name| format!("tests/{name}.test.mjs"));
    let suites = suites.each_ref().map(String::as_str);
    node(&[&["--test"][..], &suites[..]].concat());
}

#[test]
fn the_types_of_the_typescript_client_are_strict() {
    node(&["node_modules/typescript/bin/tsc", "--noEmit", "-p", "tsconfig.json"]);
}
