//! `keyward demo`, as a newcomer meets it.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{client, keyward, run};

use keyward::clock;

/// A past of ten days and a play of ten seconds, in a debug build on a busy machine.
const BOUND: Duration = Duration::from_secs(120);

#[test]
fn the_demo_finds_the_attacks_harms_nobody_and_ends_in_time() {
    let began = clock::instant();
    let (code, printed, stderr) =
        run(&mut keyward(&["demo", "--exit", "--listen", "127.0.0.1:0", "--seconds", "10"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    let sum = printed
        .lines()
        .find(|line| line.starts_with("attacks found: "))
        .unwrap_or_else(|| panic!("{printed}"));
    let numbers: Vec<u32> = sum.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let [found, attacks, refused, keys] = numbers[..] else { panic!("{sum}") };
    assert!(found >= 5 && attacks >= 6, "{printed}");
    assert!(refused == 0 && keys >= 6, "{printed}");
    let refused = |line: &&str| line.contains("nightly-batch") && line.contains("(BUDGET_EXCEEDED)");
    assert!(printed.lines().any(|line| refused(&line)), "a budget is used up: {printed}");
    assert!(!printed.contains('\u{1b}'), "colours are for terminals");
}

#[test]
fn the_demo_of_the_gateway_shows_a_stream_that_a_ban_cuts_and_ends_in_time() {
    let began = clock::instant();
    let arguments = ["demo", "--gateway", "--exit", "--listen", "127.0.0.1:0", "--seconds", "5"];
    let (code, printed, stderr) = run(&mut keyward(&arguments));
    assert_eq!(code, 0, "{stderr}");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    let order = [
        "a plain request      Singapore SG",
        "a stream begins      Singapore SG",
        "10 words",
        "a thief has the key  Bucharest RO",
        "the stream ends      Singapore SG      cut: This API key is banned.",
        "its owner asks again Singapore SG      403 API_KEY_BANNED",
        "stream cut ",
        "key refused",
        "the budget paid 0.",
    ];
    let mut rest = printed.as_str();
    for words in order {
        let at = rest
            .find(words)
            .unwrap_or_else(|| panic!("no {words:?} behind what comes before it:\n{printed}"));
        rest = &rest[at..];
    }
}

#[tokio::test]
async fn the_lines_that_the_demo_prints_ban_an_impossible_traveller() {
    let mut demo = Demo::start();
    let curls: Vec<String> =
        demo.until("Now playing").into_iter().filter(|line| line.contains(" -d '")).collect();
    let [home, abroad] = &curls[..] else { panic!("{curls:?}") };
    let first = post(home).await;
    assert_eq!((&first["allowed"], &first["action"]), (&true.into(), &"none".into()), "{first}");
    let second = post(abroad).await;
    assert_eq!((&second["allowed"], &second["action"]), (&false.into(), &"temporary_ban".into()), "{second}");
    assert_eq!(second["retry_after_seconds"], 1800);
    demo.until("Still serving on");
    let ended = Command::new("kill").arg(demo.child.id().to_string()).status().unwrap();
    assert!(ended.success());
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
}

/// Does what a printed line says.
async fn post(curl: &str) -> Value {
    let url = curl.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let body = curl.split_once(" -d '").unwrap().1.trim_end_matches('\'').to_owned();
    let request = client().post(url).header("content-type", "application/json").body(body);
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

/// A demo that goes on serving; killed when it is dropped.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    fn start() -> Self {
        let mut command = keyward(&["demo", "--listen", "127.0.0.1:0", "--seconds", "5"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The lines up to one that holds these words.
    fn until(&mut self, words: &str) -> Vec<String> {
        let mut seen = Vec::new();
        for line in self.lines.by_ref().map_while(Result::ok) {
            if line.contains(words) {
                return seen;
            }
            seen.push(line);
        }
        panic!("it never said {words:?}:\n{}", seen.join("\n"));
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
