//! `run …` of the real program against a real webserver.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use dagster_taskiq_tui::domain::RunStatus;
use serde_json::Value;
use tempfile::TempDir;

use super::webserver::announce;
use super::{client, until, webserver};

/// A shell with a home of its own.
pub struct Shell {
    home: TempDir,
    url: String,
}

impl Shell {
    pub async fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            url: webserver().await.url.clone(),
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dagster-taskiq-tui"));
        if !line.starts_with("dagster ") {
            command.arg("run");
        }
        command
            .args(line.split_whitespace())
            .env("HOME", self.home.path())
            .env_remove("XDG_STATE_HOME")
            .env_remove("DAGSTER_HOME")
            .env("DAGSTER_TASKIQ_WEBSERVER_URL", &self.url)
            .stdin(Stdio::null());
        command
    }

    pub async fn run(&self, line: &str) -> Output {
        let mut command = self.command(line);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    /// The JSON lines of a command that succeeds.
    pub async fn json(&self, line: &str) -> Vec<Value> {
        let output = self.run(&format!("{line} --json")).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        lines(&output)
    }

    /// The one sentence of a command that fails.
    pub async fn sentence(&self, line: &str) -> String {
        let output = self.run(line).await;
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {errors}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
        errors
    }

    pub fn audit(&self) -> Vec<Value> {
        let path = self
            .home
            .path()
            .join(".local/state/dagster-taskiq-tui/audit.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

pub fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_script_lists_jobs_launches_one_with_its_configuration_and_waits() {
    let shell = Shell::new().await;
    let jobs = shell.json("jobs").await;
    let named = |name: &str| jobs.iter().find(|job| job["job"] == name);
    assert_eq!(named("days").unwrap()["assets"], true);
    assert_eq!(named("__ASSET_JOB"), None);

    let mut command = shell.command("launch greeting --config - --tag team=data --wait --json");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let config = b"ops: {greet: {config: {who: operator}}}";
    child.stdin.take().unwrap().write_all(config).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap();
    let told = lines(&output);
    assert!(output.status.success(), "{told:?}");
    assert_eq!(told.last().unwrap()["status"], "SUCCESS");
    let run_id = text(&told[0]["run_id"]);

    let runs = shell.json("list --job greeting --status success").await;
    assert!(
        runs.iter().any(|run| run["run_id"] == run_id.as_str()),
        "{runs:?}"
    );
    let shown = shell
        .json(&format!("show {}", &run_id[..8]))
        .await
        .swap_remove(0);
    assert_eq!(shown["steps"][0]["key"], "greet");
    assert_eq!(shown["steps"][0]["worker"], Value::Null);
    announce(&run_id, "greet", "wanda").await;
    let line = format!("show {run_id}");
    let announced = shell.json(&line).await.swap_remove(0);
    assert_eq!(announced["steps"][0]["worker"], "wanda");
    let host = text(&announced["steps"][0]["host"]);
    let words = shell.run(&line).await.stdout;
    let words = String::from_utf8(words).unwrap();
    let step = words.lines().find(|line| line.contains(" greet ")).unwrap();
    assert!(
        step.contains("success") && step.ends_with(&format!(" on wanda ({host})")),
        "{words}"
    );
    assert!(text(&shown["config"]).contains("operator"), "{shown}");
    // Where nothing else is known the webserver tells what it knows.
    let empty = shell.home.path().display();
    let line = format!("explain {run_id} greet --runtime-dir {empty}");
    let explained = shell.json(&line).await.swap_remove(0);
    assert_eq!(explained["reasons"][0]["kind"], "step_status");
    assert_eq!(explained["waits"], false);
    assert!(text(&explained["unknown"][0]).contains("DAGSTER_HOME"));
    let audit = shell.audit();
    assert_eq!(audit.len(), 1, "{audit:?}");
    assert_eq!(audit[0]["verb"], "run launch");
    assert!(text(&audit[0]["text"]).contains(&run_id));
}

#[tokio::test]
async fn assets_and_a_partition_are_launched_without_naming_a_job() {
    let shell = Shell::new().await;
    let line = "launch --asset report/weekly --partition 2024-01-02 --wait";
    let told = shell.json(line).await;
    let reloaded = shell.json("reload definitions.py").await;
    assert_eq!(reloaded[0]["reloaded"], true);
    let unknown = shell.sentence("reload nowhere").await;
    assert!(unknown.contains("nowhere"), "{unknown}");
    assert_eq!(shell.audit()[1]["verb"], "run reload");
    let run = client()
        .await
        .run(told[0]["run_id"].as_str().unwrap())
        .await
        .unwrap();
    assert_eq!((run.status, run.steps.len()), (RunStatus::Success, 1));
    assert_eq!(run.steps[0].key, "report__weekly");
}

#[tokio::test]
async fn what_dagster_does_not_know_or_want_is_a_sentence_with_the_nearest_match() {
    let shell = Shell::new().await;
    let cases = [
        (
            "launch greting",
            "there is no job greting; the nearest is greeting",
        ),
        (
            "launch greeting -l definition.py",
            "the nearest is definitions.py",
        ),
        ("launch greeting", "Missing required config entry"),
        (
            "launch days --asset report/dayly",
            "the nearest is report/daily",
        ),
        (
            "launch days --partition 2024-01-40",
            "the nearest is 2024-01-0",
        ),
        ("launch", "name a job"),
        (
            "launch greeting --config /no/such.yaml",
            "cannot read the run configuration from /no/such.yaml",
        ),
        ("show 00000000", "no run begins with 00000000"),
        (
            "reexecute 00000000-0000-0000-0000-000000000000",
            "could not be found",
        ),
        (
            "list --webserver-url http://127.0.0.1:9",
            "cannot reach Dagster's webserver at http://127.0.0.1:9",
        ),
        ("launch numbers --read-only", "run launch was refused"),
    ];
    for (line, expected) in cases {
        let sentence = shell.sentence(line).await;
        assert!(sentence.contains(expected), "{line}: {sentence}");
    }
    let audit = shell.audit();
    let refused = audit
        .iter()
        .find(|entry| text(&entry["text"]).contains("read-only"));
    assert_eq!(refused.unwrap()["verb"], "run launch");
    let mut command = shell.command("jobs");
    command.env_remove("DAGSTER_TASKIQ_WEBSERVER_URL");
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("give --webserver-url"), "{errors}");
}

#[tokio::test]
async fn runs_are_counted_then_terminated_by_status_and_job_and_can_be_marked_as_canceled() {
    let shell = Shell::new().await;
    let client = client().await;
    let mut run_ids = Vec::new();
    for _ in 0..2 {
        let told = shell.json("launch lasting").await;
        run_ids.push(text(&told[0]["run_id"]));
    }
    for run_id in &run_ids {
        until(&client, run_id, |run| !run.steps.is_empty()).await;
    }
    let counted = shell
        .run("terminate --status started --job lasting --json")
        .await;
    assert_eq!(counted.status.code(), Some(1));
    let would: Vec<Value> = lines(&counted);
    let is_listed = |run_id: &String| would.iter().any(|run| run["run_id"] == run_id.as_str());
    assert!(run_ids.iter().all(is_listed), "{would:?}");
    let errors = String::from_utf8_lossy(&counted.stderr);
    assert!(errors.contains("nothing was done: add --yes"), "{errors}");

    let told = shell
        .json(&format!("terminate {} --force", run_ids[1]))
        .await;
    assert_eq!(told[0]["outcome"], "marked as canceled");
    let second = client.run(&run_ids[1]).await.unwrap();
    assert_eq!(second.status, RunStatus::Canceled);
    let told = shell.json("terminate --job lasting --yes").await;
    assert_eq!(
        (told.len(), &told[0]["outcome"]),
        (1, &"terminating".into())
    );
    let first = until(&client, &run_ids[0], |run| run.status.is_finished()).await;
    assert_eq!(first.status, RunStatus::Canceled);

    let over = shell.sentence(&format!("terminate {}", run_ids[0])).await;
    assert!(
        over.contains("1 of 1 were not terminated") && over.contains("--force"),
        "{over}"
    );
    let again = shell.json(&format!("reexecute {}", run_ids[0])).await;
    let again = text(&again[0]["run_id"]);
    until(&client, &again, |run| !run.steps.is_empty()).await;
    shell.json(&format!("terminate {again}")).await;
    until(&client, &again, |run| run.status.is_finished()).await;
}

#[tokio::test]
async fn a_failed_run_that_is_waited_for_is_a_failure_and_runs_again_from_there() {
    let shell = Shell::new().await;
    let sentence = shell.sentence("launch failing --wait").await;
    assert!(sentence.contains("ended with FAILURE"), "{sentence}");
    let failed = shell.json("list --job failing --status failure -n 1").await;
    let run_id = text(&failed[0]["run_id"]);
    let sentence = shell
        .sentence(&format!("reexecute {run_id} --from-failure --wait"))
        .await;
    assert!(sentence.contains("ended with FAILURE"), "{sentence}");
}
