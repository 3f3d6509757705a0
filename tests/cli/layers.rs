//! The layers: a folder may import only what is below it (the list is in `src/lib.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What everything may import; of these only `domain` knows none of the others.
const BASE: [&str; 4] = ["wire", "domain", "config", "environment"];

/// What a layer may import besides [`BASE`]; `None`: a layer that this test does not know.
fn allowed(layer: &str) -> Option<Vec<&'static str>> {
    let more: &[&str] = match layer {
        "cli" => &[
            "alarms",
            "console",
            "fleet",
            "worker",
            "queue_ops",
            "protocol",
            "fork_server",
            "sqs",
            "sqs_server",
            "dagster",
            "telemetry",
        ],
        "console" => &["alarms", "fleet", "protocol"],
        "fleet" => &["protocol", "dagster"],
        "worker" => &["protocol", "queue_ops", "fork_server", "sqs", "telemetry"],
        "alarms" => &["protocol", "fork_server", "sqs"],
        "queue_ops" => &["fork_server", "sqs"],
        "fork_server" | "sqs" | "sqs_server" => &["telemetry"],
        "protocol" | "dagster" | "wire" | "config" | "environment" => &[],
        "telemetry" => return Some(vec!["domain"]),
        "domain" => return Some(Vec::new()),
        _ => return None,
    };
    Some(more.iter().chain(&BASE).copied().collect())
}

#[test]
fn every_layer_imports_only_what_is_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let path = file.strip_prefix(&source).unwrap();
        let layer = path.with_extension("");
        let layer = layer.iter().next().unwrap().to_str().unwrap().to_owned();
        if matches!(layer.as_str(), "lib" | "main" | "bin" | "build") {
            continue;
        }
        let Some(allowed) = allowed(&layer) else {
            wrong.push(format!("{}: the layer {layer} is new here", path.display()));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            if import != layer && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: {layer} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_groups_in_paths_and_not_in_comments() {
    let text = "\
//! See [`crate::console`].
use crate::{domain::{Task, Queue}, wire::message};
use crate::config::Settings;
fn f() -> crate::fork_server::ForkServers { crate::sqs::new() } // not crate::fleet
use dagster_taskiq_tui::cli;
";
    let found = imports(text);
    let expected = ["domain", "wire", "config", "fork_server", "sqs"];
    assert_eq!(
        found,
        expected.iter().map(|&name| name.to_owned()).collect()
    );
}

/// The modules of this crate that a file names through `crate::`.
fn imports(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .collect();
    let code = code.join("\n");
    let mut found = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            Some(group) => found.extend(group_members(group)),
            None => found.extend(identifier(part)),
        }
    }
    found
}

/// The first words of `{a::{b, c}, d}`, given without its opening brace.
fn group_members(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut members = vec![String::new()];
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => members.push(String::new()),
            _ if depth == 1 => members.last_mut().unwrap().push(letter),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    members
        .iter()
        .filter_map(|member| identifier(member.trim()))
        .collect()
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
