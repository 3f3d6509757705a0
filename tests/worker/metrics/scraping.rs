//! What a worker answers over HTTP: its metrics, its health and its readiness.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use dagster_taskiq_tui::telemetry::metrics::catalogue::{ALL, Kind};

use crate::http::{Answer, send_raw};
use crate::support::{PATIENCE, Worker, wait_until};

/// Flags of a worker that serves them on a free port.
pub const LISTEN: [&str; 2] = ["--metrics-listen", "127.0.0.1:0"];

/// Where a worker that was started with [`LISTEN`] answers.
pub fn address(worker: &Worker) -> String {
    let output = worker.process.output();
    let (_, rest) = output
        .split_once("metrics and health at http://")
        .unwrap_or_else(|| panic!("{output}"));
    let is_part = |letter: char| letter.is_ascii_digit() || ".:".contains(letter);
    rest.split(|letter| !is_part(letter))
        .next()
        .unwrap()
        .to_owned()
}

pub fn get(address: &str, path: &str) -> Answer {
    let host = [format!("Host: {address}")];
    send_raw(address, &format!("GET {path}"), &host, "")
}

/// What a health path answers: its status and its one line.
pub fn verdict(address: &str, path: &str) -> (u16, String) {
    let answer = get(address, path);
    assert_eq!(answer.body.lines().count(), 1, "{}", answer.body);
    (answer.status, answer.body.trim_end().to_owned())
}

pub fn wait_for_verdict(address: &str, path: &str, status: u16, words: &str) {
    wait_until(&format!("{path} says {status} {words}"), PATIENCE, || {
        let (found, text) = verdict(address, path);
        (found == status && text.contains(words)).then_some(())
    });
}

/// The values by name and labels; each is of a family of the catalogue, with its labels and kind.
pub fn scrape(address: &str) -> BTreeMap<String, f64> {
    let answer = get(address, "/metrics");
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    let samples: BTreeMap<String, f64> = samples
        .map(|line| {
            let (key, value) = line.rsplit_once(' ').unwrap();
            (key.to_owned(), value.parse().unwrap())
        })
        .collect();
    for key in samples.keys() {
        let (name, labels) = key.split_once('{').unwrap_or((key, ""));
        let suffixes = ["_bucket", "_sum", "_count"];
        let stem = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        let family = ALL
            .iter()
            .find(|family| match family.kind {
                Kind::Histogram(_) => Some(family.name) == stem,
                Kind::Counter | Kind::Gauge => family.name == name,
            })
            .unwrap_or_else(|| panic!("{key} is not in the catalogue"));
        let labels = labels.trim_end_matches('}').split("\",");
        let labels: Vec<&str> = labels
            .filter_map(|label| label.split_once('=').map(|(name, _)| name))
            .filter(|name| *name != "le")
            .collect();
        assert_eq!(labels, family.labels, "{key}");
        let kind = format!("# TYPE {} {}", family.name, family.kind.word());
        assert!(answer.body.lines().any(|line| line == kind), "{kind}");
    }
    samples
}

/// The sum of a family's samples that have these labels.
pub fn sum(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let name = format!("dagster_taskiq_{name}");
    let is_it = |key: &str| key.split('{').next() == Some(&name);
    samples
        .iter()
        .filter(|(key, _)| is_it(key) && labels.iter().all(|label| key.contains(label)))
        .map(|(_, value)| value)
        .sum()
}

/// Waits until the sum is at least `least`.
pub fn wait_for_sum(
    address: &str,
    name: &str,
    labels: &[&str],
    least: f64,
) -> BTreeMap<String, f64> {
    wait_until(&format!("{name} {labels:?} is {least}"), PATIENCE, || {
        let samples = scrape(address);
        (sum(&samples, name, labels) >= least).then_some(samples)
    })
}

pub fn is(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 0.5
}

/// The status of an answer; none where the connection was closed instead.
pub fn refused(address: &str, line: &str, headers: &[String]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let headers = headers.iter().flat_map(|header| [header.as_str(), "\r\n"]);
    let headers: String = headers.collect();
    let _ = write!(
        stream,
        "{line} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n"
    );
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
}
