//! The manifests of Kubernetes: against its schemas, against each other, and with the binary that they start.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{path, settings};
use crate::app::{Served, client, keyward, run};

const FOLDER: &str = "deploy/kubernetes";
/// The oldest version that has all that the manifests use, and the newest whose schemas are at hand.
const VERSIONS: [&str; 2] = ["1.30.0", "1.37.0"];
/// What the Secret has that the manifests name, as a user would fill it in.
const SECRET: [(&str, &str); 3] = [
    ("store-url", "redis://redis:6379"),
    ("tokens", "[{ id = \"a\", hash = \"HASH\", scopes = [\"admin\"] }]"),
    ("pepper", "k1:a pepper for tests alone"),
];

/// A program that `scripts/manifests` has put there.
fn provided(program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("manifests/venv/bin").join(program);
    assert!(path.exists(), "{} is needed: run scripts/manifests", path.display());
    path
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path(FOLDER)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Every manifest of the folder.
fn manifests() -> Vec<Value> {
    let script = "import json, sys, yaml\n\
                  print(json.dumps([m for f in sys.argv[1:] for m in yaml.safe_load_all(open(f))]))";
    let (code, said, errors) = run(Command::new(provided("python")).args(["-c", script]).args(files()));
    assert_eq!(code, 0, "{errors}");
    serde_json::from_str(&said).unwrap()
}

fn of_kind(kind: &str) -> Vec<Value> {
    let found: Vec<Value> = manifests().into_iter().filter(|manifest| manifest["kind"] == kind).collect();
    assert!(!found.is_empty(), "no {kind}");
    found
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn pod() -> Value {
    of_kind("Deployment").remove(0)["spec"]["template"].take()
}

/// A token's hash; of no token that is known.
fn filled_in(text: &str) -> String {
    text.replace("HASH", &"ab".repeat(32))
}

/// The environment that the Deployment gives, from the Secret.
fn environment(container: &Value) -> Vec<(String, String)> {
    let variables = list(&container["env"]).iter().map(|variable| {
        let key = variable["valueFrom"]["secretKeyRef"]["key"].as_str().unwrap();
        let (_, value) = SECRET.into_iter().find(|(name, _)| *name == key).unwrap();
        (variable["name"].as_str().unwrap().to_owned(), filled_in(value))
    });
    variables.collect()
}

/// The file of settings of the ConfigMap, written into a directory.
fn settings_file(directory: &Path) -> PathBuf {
    let file = directory.join("keyward.toml");
    let config = of_kind("ConfigMap").remove(0);
    std::fs::write(&file, config["data"]["keyward.toml"].as_str().unwrap()).unwrap();
    file
}

#[test]
fn the_schemas_of_kubernetes_allow_the_manifests_and_no_unknown_member() {
    for version in VERSIONS {
        let mut command = Command::new(provided("kubernetes-validate"));
        let (code, said, errors) = run(command.args(["--strict", "-k", version]).args(files()));
        assert_eq!(code, 0, "{version}: {said}\n{errors}");
    }
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.yaml");
    let right = std::fs::read_to_string(path(FOLDER).join("deployment.yaml")).unwrap();
    std::fs::write(&wrong, right.replace("replicas:", "replicaz:")).unwrap();
    let mut command = Command::new(provided("kubernetes-validate"));
    let (code, said, errors) = run(command.args(["--strict", "-k", VERSIONS[1]]).arg(wrong));
    assert!(code != 0 && [said, errors].concat().contains("replicaz"));
}

#[test]
fn the_settings_of_the_manifests_are_those_that_the_service_knows() {
    let dir = tempfile::tempdir().unwrap();
    let mut pod = pod();
    let container = pod["spec"]["containers"][0].take();
    let environment = environment(&container);
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let config = settings(settings_file(dir.path()), &environment);
    assert_eq!(config.store.url, SECRET[0].1);
    assert_eq!(config.auth.tokens.len(), 1);
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    let asleep = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(grace >= asleep + 2 * (config.server.shutdown_grace_seconds + 5), "{grace}");
    let mounted = |file: &Path| {
        let mut mounts = list(&container["volumeMounts"]).iter();
        mounts.any(|mount| file.starts_with(mount["mountPath"].as_str().unwrap()))
    };
    assert!(mounted(Path::new(&config.secrets.pepper_file)) && mounted(&config.data_directory()));
    assert!(mounted(Path::new(container["args"][2].as_str().unwrap())));
}

#[test]
fn ports_of_services_probes_and_networks_are_those_that_are_listened_on() {
    let dir = tempfile::tempdir().unwrap();
    let container = pod()["spec"]["containers"][0].take();
    let tokens = filled_in(SECRET[1].1);
    let config = settings(settings_file(dir.path()), &[("KEYWARD__AUTH__TOKENS", tokens.as_str())]);
    let operators = config.server.admin_address().unwrap().port();
    let callers = config.server.listen.port();
    let opened: Vec<(&str, u64)> = list(&container["ports"])
        .iter()
        .map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_u64().unwrap()))
        .collect();
    assert_eq!(opened, [("callers", u64::from(callers)), ("operators", u64::from(operators))]);
    let known = |name: &Value| opened.iter().any(|(port, _)| name == port);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert!(known(&container[probe]["httpGet"]["port"]), "{probe}");
    }
    for service in of_kind("Service") {
        assert!(list(&service["spec"]["ports"]).iter().all(|port| known(&port["targetPort"])), "{service}");
    }
    for rule in list(&of_kind("NetworkPolicy").remove(0)["spec"]["ingress"]) {
        assert!(list(&rule["ports"]).iter().all(|port| known(&port["port"])), "{rule}");
    }
}

#[test]
fn every_selector_means_the_pods_of_the_deployment() {
    let pod = pod();
    let labels = &pod["metadata"]["labels"];
    let spread = &pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
    assert_eq!(spread, labels);
    assert_eq!(&of_kind("Deployment")[0]["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&of_kind("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&of_kind("NetworkPolicy")[0]["spec"]["podSelector"]["matchLabels"], labels);
    assert!(of_kind("Service").iter().all(|service| &service["spec"]["selector"] == labels));
}

#[tokio::test]
async fn the_binary_starts_with_the_settings_of_the_manifests_and_its_probes_answer() {
    let dir = tempfile::tempdir().unwrap();
    let pepper = dir.path().join("pepper");
    std::fs::write(&pepper, SECRET[2].1).unwrap();
    let file = settings_file(dir.path()).display().to_string();
    let container = pod()["spec"]["containers"][0].take();
    let arguments: Vec<String> = list(&container["args"])
        .iter()
        .map(|argument| argument.as_str().unwrap().replace("/etc/keyward/keyward.toml", &file))
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Where it listens, its pepper, store and directory are those of this test.
    let mut command = keyward(&arguments);
    command.envs(environment(&container)).env("KEYWARD_PEPPER_FILE", &pepper);
    command.env("KEYWARD_LISTEN", "127.0.0.1:0").env("KEYWARD__SERVER__ADMIN_LISTEN", "127.0.0.1:0");
    command.env("KEYWARD_STORE", format!("embedded:{}", dir.path().join("data").display()));
    command.env("KEYWARD__SECRETS__DATA_DIRECTORY", dir.path().join("data"));
    let served = Served::start_with(command.env("KEYWARD__LOG__FORMAT", "text"));
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asked = container[probe]["httpGet"]["path"].as_str().unwrap();
        let answer = client().get(format!("{}{asked}", served.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{probe}");
    }
    assert!(served.terminate().success());
}
