//! The files for services and containers in `docs/deploy`. What needs systemd, a container engine or a cloud
//! is not run here: it is parsed, and the program's own command lines in it are tried.

use crate::support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use dagster_taskiq_tui::cli;
use serde_yaml::Value;
use support::say_not_run;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    let path = root().join("docs/deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

/// The program's own parser takes these arguments.
fn assert_is_a_command(arguments: &[String]) {
    let line = arguments.join(" ");
    let words = std::iter::once("dagster-taskiq-tui".to_owned()).chain(arguments.iter().cloned());
    cli::command()
        .try_get_matches_from(words)
        .unwrap_or_else(|problem| panic!("`{line}`: {problem}"));
}

/// A tool that reads the file where it is installed.
fn assert_is_read_by(program: &str, arguments: &[&str]) {
    let folder = root().join("docs/deploy");
    let command = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output();
    match command {
        Ok(output) => assert!(
            output.status.success(),
            "{program} {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(_) => say_not_run(&format!("{program}, which is not installed")),
    }
}

fn words(value: &Value) -> Vec<String> {
    let words = value
        .as_sequence()
        .unwrap_or_else(|| panic!("a list of words: {value:?}"));
    words
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_compose_file_names_commands_and_files_that_exist() {
    let mut compose: Value = serde_yaml::from_str(&read("compose.yaml")).unwrap();
    compose.apply_merge().unwrap();
    let services = compose["services"].as_mapping().unwrap();
    let mut ours = 0;
    for (name, service) in services {
        for needed in service["depends_on"]
            .as_mapping()
            .into_iter()
            .flat_map(|map| map.keys())
        {
            assert!(services.contains_key(needed), "{name:?} needs {needed:?}");
        }
        if service["image"].as_str() == Some("dagster-taskiq") {
            let build = &service["build"];
            let context = root()
                .join("docs/deploy")
                .join(build["context"].as_str().unwrap());
            assert!(context.join(build["dockerfile"].as_str().unwrap()).exists());
            if service.get("entrypoint").is_none() {
                ours += 1;
                assert_is_a_command(&words(&service["command"]));
            }
        }
    }
    assert_eq!(ours, 3, "broker, queues, worker");
    for mount in compose["x-dagster"]["volumes"].as_sequence().unwrap() {
        let mount = mount.as_str().unwrap();
        if let Some(file) = mount.strip_prefix("./") {
            let file = file.split(':').next().unwrap();
            assert!(root().join("docs/deploy").join(file).exists(), "{mount}");
        }
    }
    let instance: Value = serde_yaml::from_str(&read("dagster.yaml")).unwrap();
    assert_eq!(instance["run_launcher"]["class"], "TaskiqRunLauncher");
}

#[test]
fn the_container_recipe_copies_what_exists_and_ends_with_a_command_of_ours() {
    let known = [
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "ENV",
        "USER",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    ];
    let text = read("Containerfile").replace("\\\n", " ");
    let mut seen = BTreeSet::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (instruction, rest) = line.split_once(' ').unwrap();
        assert!(known.contains(&instruction), "{line}");
        seen.insert(instruction);
        let mut rest: Vec<_> = rest.split_whitespace().collect();
        if instruction == "COPY" && !rest[0].starts_with("--from") {
            rest.pop();
            for source in rest {
                assert!(
                    root().join(source).exists(),
                    "{line}: {source} does not exist"
                );
            }
        } else if instruction == "CMD" {
            let arguments: Vec<String> = serde_json::from_str(&rest.join(" ")).unwrap();
            assert_is_a_command(&arguments);
        }
    }
    assert_eq!(seen.len(), known.len(), "{seen:?}");
}

#[test]
fn the_systemd_unit_starts_a_worker_and_gives_it_time() {
    let unit = read("dagster-taskiq-worker.service");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let mut words = line.split_whitespace().map(ToOwned::to_owned);
    let program = words.next().unwrap();
    assert!(program.ends_with("/dagster-taskiq-tui"));
    assert_is_a_command(&words.collect::<Vec<_>>());
    // systemd wants the program itself to exist.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dagster-taskiq-worker.service");
    let here = support::binary().to_string_lossy();
    std::fs::write(&path, unit.replace(&program, &here)).unwrap();
    assert_is_read_by("systemd-analyze", &["verify", path.to_str().unwrap()]);
}

#[test]
fn the_cloud_examples_are_well_formed_and_grant_what_the_guide_grants() {
    let keda: Value = serde_yaml::from_str(&read("keda.yaml")).unwrap();
    assert_eq!(keda["kind"], "ScaledObject");
    assert_is_read_by("terraform", &["fmt", "-check", "."]);
    let guide = std::fs::read_to_string(root().join("docs/guide/aws.md")).unwrap();
    let actions = |text: &str| -> BTreeSet<String> {
        let words = text.split('"');
        words
            .filter(|word| word.starts_with("sqs:") || word.starts_with("s3:"))
            .map(str::to_owned)
            .collect()
    };
    let policy = guide
        .split("```json")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let terraform = read("main.tf");
    let worker = terraform
        .split("\"worker\" {")
        .nth(1)
        .unwrap()
        .split("\"sender\" {")
        .next()
        .unwrap();
    assert_eq!(actions(policy), actions(worker));
    // Only with this does S3 say of an object that it is missing; it is about the bucket itself.
    let listing = worker
        .split("statement {")
        .find(|it| it.contains("s3:ListBucket"));
    assert!(listing.unwrap().contains("[aws_s3_bucket.large.arn]"));
    let policy: Value = serde_yaml::from_str(policy).unwrap();
    let statements = policy["Statement"].as_sequence().unwrap();
    let listing = statements
        .iter()
        .find(|it| words(&it["Action"]).contains(&"s3:ListBucket".to_owned()));
    let resource = listing.unwrap()["Resource"].as_str().unwrap();
    assert!(!resource.contains('/'), "{resource}");
    for file in ["main.tf", "autoscaling.tf"] {
        let text = read(file);
        let count = |sign: char| text.matches(sign).count();
        assert_eq!(count('{'), count('}'), "{file}");
    }
}

/// The blocks of a document that are fenced with this language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let parts = document.split(fence.as_str()).skip(1);
    parts.filter_map(|part| part.split("```").next()).collect()
}

#[test]
fn the_commands_and_the_settings_of_the_two_hosts_are_ones_the_program_takes() {
    let guide = read("../guide/two-hosts.md");
    let mut commands = 0;
    for block in blocks(&guide, "sh") {
        for line in block.replace("\\\n", " ").lines() {
            let line = line.split('#').next().unwrap_or_default();
            if let Some((_, arguments)) = line.split_once("dagster-taskiq-tui") {
                let arguments: Vec<_> = arguments.split_whitespace().map(str::to_owned).collect();
                assert_is_a_command(&arguments);
                commands += 1;
            }
        }
    }
    assert!(commands >= 10, "only {commands} commands were found");

    let files = blocks(&guide, "yaml");
    let settings = files
        .iter()
        .find(|file| file.contains("alarm_hooks:"))
        .unwrap();
    dagster_taskiq_tui::config::parse(Path::new("taskiq.yaml"), settings).unwrap();
    let instance: Value = serde_yaml::from_str(files[0]).unwrap();
    let deployed: Value = serde_yaml::from_str(&read("dagster.yaml")).unwrap();
    assert_eq!(instance["run_launcher"], deployed["run_launcher"]);
    let scheme = |file: &Value| file["storage"]["postgres"]["postgres_db"]["scheme"].clone();
    assert_eq!(scheme(&instance), scheme(&deployed));
}
