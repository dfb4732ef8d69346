//! Brokers and a reader that other people wrote: librdkafka's mock cluster, and kcat.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::Deserialize;

use super::{Message, TOPIC};

/// A cluster; it ends when this is dropped, or when the process ends.
pub(super) struct Cluster {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    pub brokers: String,
    partitions: usize,
}

impl Cluster {
    /// Of three brokers.
    pub(super) fn start(partitions: usize) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it_support/kafka.py");
        let mut child = Command::new("python3")
            .args([script, "3", TOPIC, &partitions.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let brokers = answers.next().expect("librdkafka is needed; scripts/test provides it").unwrap();
        let orders = child.stdin.take();
        Self { child, orders, answers, brokers, partitions }
    }

    /// Has it do something; returns what it answers.
    pub(super) fn order(&mut self, order: &str) -> String {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        self.answers.next().unwrap_or_else(|| panic!("{order}: it ended")).unwrap()
    }

    /// The partition that librdkafka would choose as the Java client does.
    pub(super) fn partition(&mut self, key: &str) -> i32 {
        let order = format!("partition {} {}", self.partitions, hex::encode(key));
        self.order(&order).parse().unwrap()
    }

    /// Everything in the topic, as kcat reads it, which checks the checksums.
    pub(super) fn read(&self) -> Vec<Message> {
        read(&self.brokers, &[])
    }
}

/// Everything in the topic at these brokers, partition by partition.
pub(super) fn read(brokers: &str, more: &[&str]) -> Vec<Message> {
    let output = Command::new("kcat")
        .args([
            "-C",
            "-b",
            brokers,
            "-t",
            TOPIC,
            "-o",
            "beginning",
            "-e",
            "-q",
            "-J",
            "-X",
            "check.crcs=true",
        ])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("kcat is needed; scripts/test provides it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().message()).collect()
}

/// As kcat writes it.
#[derive(Deserialize)]
struct Line {
    partition: i32,
    ts: i64,
    headers: Vec<String>,
    key: Option<String>,
    payload: String,
}

impl Line {
    fn message(self) -> Message {
        let pairs = self.headers.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        Message {
            partition: self.partition,
            time: self.ts,
            key: self.key,
            headers: pairs.collect(),
            body: serde_json::from_str(&self.payload).unwrap(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
