//! The documents about metrics name what a worker has.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dagster_taskiq_tui::telemetry::metrics::catalogue::{ALL, Family, Kind};
use regex::Regex;

use crate::support::say_not_run;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name)
}

/// The table of all metrics.
fn table() -> String {
    let mut table = String::from("| name | kind | labels | what |\n|---|---|---|---|\n");
    for family in ALL {
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let bounds = match family.kind {
            Kind::Histogram(bounds) => {
                let bounds: Vec<String> = bounds.iter().map(ToString::to_string).collect();
                format!("; up to {} s", bounds.join(", "))
            }
            Kind::Counter | Kind::Gauge => String::new(),
        };
        let (name, kind, help) = (family.name, family.kind.word(), family.help);
        let labels = labels.join(", ");
        writeln!(table, "| `{name}` | {kind} | {labels} | {help}{bounds} |").unwrap();
    }
    table
}

#[test]
fn the_reference_of_metrics_is_the_workers() {
    let path = docs("reference/metrics.md");
    let written = fs::read_to_string(&path).unwrap();
    let (before, rest) = written.split_once("<!-- metrics -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /metrics -->").unwrap();
    let page = format!(
        "{before}<!-- metrics -->\n{}<!-- /metrics -->{after}",
        table()
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(
        written == page,
        "make it anew: UPDATE_DOCS=1 cargo test --test cli"
    );
}

/// The family of a name in an expression.
fn family(name: &str) -> Option<&'static Family> {
    ALL.iter().copied().find(|family| match family.kind {
        Kind::Histogram(_) => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| name.strip_suffix(suffix) == Some(family.name)),
        Kind::Counter | Kind::Gauge => family.name == name,
    })
}

/// Checks the names and labels of expressions; the names.
fn check(expressions: &[String]) -> Vec<&'static str> {
    let metric = Regex::new(r"(dagster_taskiq_\w+)(?:\{([^}]*)\})?").unwrap();
    let label = Regex::new(r"(\w+)\s*(?:=|!=|=~|!~)\s*\x22").unwrap();
    let mut names = Vec::new();
    for expression in expressions {
        for found in metric.captures_iter(expression) {
            let name = &found[1];
            let family = family(name).unwrap_or_else(|| panic!("{name} in {expression}"));
            names.push(family.name);
            let matchers = found.get(2).map_or("", |matchers| matchers.as_str());
            for found in label.captures_iter(matchers) {
                let known = found[1] == *"instance" || family.labels.contains(&&found[1]);
                assert!(known, "{} of {name} in {expression}", &found[1]);
            }
        }
    }
    names
}

/// Every text at `key`, wherever it is.
fn texts(value: &serde_json::Value, key: &str) -> Vec<String> {
    match value {
        serde_json::Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(text) if name == key => vec![text.to_owned()],
                _ => texts(value, key),
            })
            .collect(),
        serde_json::Value::Array(items) => items.iter().flat_map(|item| texts(item, key)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist_and_all_of_them() {
    let text = fs::read_to_string(docs("grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut expressions = texts(&dashboard, "expr");
    assert!(expressions.len() > 20);
    expressions.extend(texts(&dashboard, "query"));
    let shown = check(&expressions);
    for family in ALL {
        assert!(shown.contains(&family.name), "{} is not shown", family.name);
    }
}

#[test]
fn the_alerts_ask_for_metrics_that_exist() {
    let text = fs::read_to_string(docs("alerts.yaml")).unwrap();
    let rules: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    let expressions = texts(&rules, "expr");
    assert_eq!(expressions.len(), texts(&rules, "alert").len());
    assert!(
        expressions
            .iter()
            .all(|text| !check(std::slice::from_ref(text)).is_empty())
    );
}

/// Runs promtool on a file; says so if it is not installed.
fn promtool(words: &[&str], file: &Path) {
    let Ok(output) = Command::new("promtool").args(words).arg(file).output() else {
        say_not_run(&format!(
            "promtool is not installed: {words:?} of docs/alerts.yaml was not made"
        ));
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
}

#[test]
fn prometheus_takes_the_alerts() {
    promtool(&["check", "rules"], &docs("alerts.yaml"));
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    let text = fs::read_to_string(docs("alerts.yaml")).unwrap();
    let mut rules: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    for rule in rules["groups"][0]["rules"].as_array_mut().unwrap() {
        rule.as_object_mut().unwrap().remove("annotations").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("alerts.yaml", &rules.to_string());
    write("test.yaml", include_str!("alerts_test.yaml"));
    promtool(&["test", "rules"], &folder.path().join("test.yaml"));
}
