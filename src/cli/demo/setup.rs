//! The files the demo writes: the sample project and the configuration of Dagster and the worker.

use std::path::PathBuf;

use include_dir::{Dir, include_dir};

use super::state::{State, StateError};
use crate::sqs_server::account;

static SAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/python/demo_project");

/// The bands of `demo_project/definitions.py`.
const WORKER_CONFIG: &str = "\
priority_bands:
  - {name: high, min: 8}
  - {name: normal, min: 3}
  - {name: low}
";

/// The base queue, the other bands and the queue of runs, as `queue create` configures them.
const BROKER_CONFIG: &str = "\
queues:
  dagster-tasks: {redrive: {queue: dagster-tasks-dead, max_receive_count: 100}}
  dagster-tasks-high: {redrive: {queue: dagster-tasks-dead, max_receive_count: 100}}
  dagster-tasks-low: {redrive: {queue: dagster-tasks-dead, max_receive_count: 100}}
  dagster-tasks-runs: {redrive: {queue: dagster-tasks-dead, max_receive_count: 100}}
";

/// URL of the base queue on the demo's broker.
pub(super) fn queue_url(endpoint: &str) -> String {
    format!("{endpoint}/{}/dagster-tasks", account::DEFAULT)
}

/// Writes the broker's configuration, with which it starts; returns its path.
pub(super) fn write_broker_config(state: &State) -> Result<PathBuf, StateError> {
    state.write("broker.yaml", BROKER_CONFIG)
}

/// Paths of the written files.
#[derive(Debug)]
pub(super) struct Files {
    /// Folder of the package `demo_project`: a copy that may be edited while the demo runs.
    pub project: PathBuf,
    /// The workspace file of webserver and daemon.
    pub workspace: PathBuf,
    /// The worker's configuration.
    pub worker_config: PathBuf,
}

/// Writes all of them.
pub(super) fn write(state: &State, endpoint: &str, queue_url: &str) -> Result<Files, StateError> {
    let sources = SAMPLE.files().filter_map(|file| {
        let is_source = file.path().extension().is_some_and(|ending| ending == "py");
        let source = (file.path().to_str()?, file.contents_utf8()?);
        is_source.then_some(source)
    });
    for (name, text) in sources {
        state.write(&format!("project/demo_project/{name}"), text)?;
    }
    let project = state.folder().join("project");
    state.write("home/dagster.yaml", &dagster_yaml(endpoint, queue_url))?;
    Ok(Files {
        workspace: state.write("workspace.yaml", &workspace_yaml(&project))?,
        worker_config: state.write("worker.yaml", WORKER_CONFIG)?,
        project,
    })
}

fn dagster_yaml(endpoint: &str, queue_url: &str) -> String {
    format!(
        "\
run_launcher:
  module: dagster_taskiq
  class: TaskiqRunLauncher
  config:
    queue_url: {queue_url}
    endpoint_url: {endpoint}
    region_name: us-east-1
run_coordinator:
  module: dagster._core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
telemetry:
  enabled: false
"
    )
}

/// Writes the workspace file. A path quoted for JSON is valid in YAML, whatever characters it has.
fn workspace_yaml(project: &std::path::Path) -> String {
    let folder = serde_json::Value::from(project.to_string_lossy());
    format!(
        "\
load_from:
  - python_module:
      module_name: demo_project.definitions
      working_directory: {folder}
      location_name: demo
"
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::*;
    use crate::config::yaml;

    #[test]
    fn the_files_are_yaml_and_the_sample_is_whole() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("it's: a \"folder\"");
        let state = State::take(Some(&folder), cache.path()).unwrap();
        let files = write(&state, "http://127.0.0.1:1", "http://127.0.0.1:1/0/q").unwrap();

        for path in [
            &files.workspace,
            &files.worker_config,
            &state.home().join("dagster.yaml"),
        ] {
            let text = std::fs::read_to_string(path).unwrap();
            assert_eq!(yaml::mistake(&text), None);
        }
        let workspace = std::fs::read_to_string(&files.workspace).unwrap();
        let workspace: serde_json::Value = yaml::read(&workspace).unwrap();
        let written = &workspace["load_from"][0]["python_module"]["working_directory"];
        assert_eq!(written.as_str().unwrap(), files.project.to_str().unwrap());
        assert!(files.project.join("demo_project/definitions.py").is_file());
    }
}
