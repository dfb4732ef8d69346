//! The SDKs of OpenAI and Anthropic behind a proxy: what Keyward refuses is an error of theirs. `scripts/sdks` provides
//! them.

use std::{path::Path, process::Command};

use serde_json::json;

use super::{programs::Proxy, scene::Scene};
use crate::support::eventually;

#[tokio::test]
async fn what_keyward_refuses_is_a_typed_error_of_the_sdks_of_openai_and_anthropic() {
    let scene = Scene::set(Proxy::Caddy, "").await;
    let good = [("x-api-key", "sk-live-77c1")];
    eventually("a good key passes", async || scene.get("/hello", &good).await.status == 200).await;
    scene.ban_key("sk-live-4f9a").await;
    scene.record(json!({ "api_key": "sk-live-11b2", "tokens_used": 10_001 })).await;
    let sdks = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("sdks/python-current/bin/python");
    assert!(sdks.exists(), "{} is needed: run scripts/sdks", sdks.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/proxies/refusals.py");
    let mut python = Command::new(sdks);
    python.arg(script).arg(&scene.proxy.url).args(["sk-live-4f9a", "sk-live-11b2", "sk live"]);
    let output = tokio::task::spawn_blocking(move || python.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = [
        "openai PermissionDeniedError 403 API_KEY_BANNED",
        "anthropic PermissionDeniedError 403 API_KEY_BANNED",
        "openai RateLimitError 429 RATE_LIMIT_EXCEEDED",
        "anthropic RateLimitError 429 RATE_LIMIT_EXCEEDED",
        "openai AuthenticationError 401 MALFORMED_KEY",
        "anthropic AuthenticationError 401 MALFORMED_KEY",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
