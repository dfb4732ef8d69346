//! The real SDKs through the gateway: what they read as an answer, and what they raise. `scripts/sdks` provides them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use super::scene::{Scene, VIRTUAL};

const BANNED: &str = "kwk_a-key-that-is-banned";
const POOR: &str = "kwk_a-key-without-a-budget";

/// Where the SDKs are.
fn sdks() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_keyward")).ancestors().nth(2).unwrap();
    target.join("sdks")
}

fn cases(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/gateway/sdks").join(name)
}

async fn scene() -> Scene {
    let settings = "aliases = [{ name = \"batch\", model = \"gpt-4.1-mini\" }]\nmodels = [{ model = \"small\", \
                    context_window = 1000 }]";
    let route = |model: &str, upstream: &str| {
        format!("[[gateway.routes]]\nmodel = {model:?}\nupstreams = [{upstream:?}]\n")
    };
    let of_openai = ["gpt-4.1*", "text-embedding*", "smal*"].map(|model| route(model, "openai")).concat();
    let scene = Scene::with(settings, |_| of_openai + &route("claude*", "anthropic")).await;
    scene.register_key(BANNED, json!({})).await;
    scene.ban_key(BANNED).await;
    scene.register_key(POOR, json!({ "budget_usd": "0.000001" })).await;
    scene
}

/// Runs a program with the keys and the place of the gateway; it must name so many cases, and nothing must be open
/// then.
async fn run(mut command: Command, least: usize) {
    let scene = scene().await;
    let folder = command.get_current_dir().unwrap().to_owned();
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("SDKS", folder);
    command.env("GATEWAY", &scene.url).env("KEY", VIRTUAL).env("BANNED", BANNED).env("POOR", POOR);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complaint) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "after these cases:\n{said}\n{complaint}");
    assert!(said.lines().count() >= least, "{said}");
    scene.is_quiet().await;
    scene.stop().await;
}

async fn python(version: &str) {
    let folder = sdks().join(format!("python-{version}"));
    assert!(folder.is_dir(), "{} is missing: run scripts/sdks", folder.display());
    let mut command = Command::new(folder.join("bin/python"));
    command.arg(cases("cases.py")).current_dir(folder);
    run(command, 46).await;
}

async fn node(version: &str) {
    let folder = sdks().join(format!("node-{version}"));
    assert!(folder.is_dir(), "{} is missing: run scripts/sdks", folder.display());
    let mut command = Command::new("node");
    command.arg(cases("cases.mjs")).current_dir(folder);
    run(command, 29).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_sdks_for_python_read_answers_and_raise_typed_errors() {
    python("current").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_former_sdks_for_python_read_answers_and_raise_typed_errors() {
    python("before").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_sdks_for_node_read_answers_and_raise_typed_errors() {
    node("current").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_former_sdks_for_node_read_answers_and_raise_typed_errors() {
    node("before").await;
}
