//! A real Dagster job, the real binary, the embedded broker: steps go through the queue and end in
//! Dagster's own event log.

use crate::support;

use std::time::Duration;

use dagster_taskiq_tui::domain::{Answer, Command, OutputPage, Query, Reply};
use serde_json::Value;
use support::{Broker, Process, Project, Worker, processes_of, wait_until};

/// The longest a job of these tests may take on a loaded machine.
const JOB: Duration = Duration::from_mins(4);

const JOBS: &str = r#"
import os, time
from dagster import Definitions, In, Nothing, job, op
from dagster_taskiq import taskiq_executor

@op
def first():
    print("counting from one")
    return 1

@op(ins={"start": In()})
def branch(start):
    return start

@op
def gather(numbers):
    assert len(numbers) == 48

@job(executor_def=taskiq_executor)
def fifty():
    start = first()
    gather([branch.alias(f"branch_{n}")(start) for n in range(48)])

@op
def slow(context):
    folder = os.environ["DAGSTER_HOME"]
    open(os.path.join(folder, f"started-{context.op_handle.name}"), "w").close()
    while not os.path.exists(os.path.join(folder, "gate")):
        time.sleep(0.05)

@job(executor_def=taskiq_executor)
def gated():
    for n in range(4):
        slow.alias(f"slow_{n}")()

defs = Definitions(jobs=[fifty, gated])
"#;

/// For each step, how often each event type of its life is in the newest run's log.
const STEP_EVENTS: &str = r#"
import json
from collections import Counter
from dagster import DagsterInstance
instance = DagsterInstance.get()
run = instance.get_runs(limit=1)[0]
steps = {}
for record in instance.all_logs(run.run_id):
    event = record.dagster_event
    if event and event.step_key and event.event_type_value in (
        "STEP_START", "STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY", "STEP_RESTARTED"):
        steps.setdefault(event.step_key, Counter())[event.event_type_value] += 1
print(json.dumps({"status": run.status.value, "steps": steps}))
"#;

/// The newest run and Dagster's key of the output of its step `first`.
const CAPTURE: &str = r#"
import json
from dagster import DagsterInstance
instance = DagsterInstance.get()
run = instance.get_runs(limit=1)[0]
for record in instance.all_logs(run.run_id):
    event = record.dagster_event
    if event and event.event_type_value == "LOGS_CAPTURED":
        if event.logs_captured_data.step_keys == ["first"]:
            print(json.dumps([run.run_id, event.logs_captured_data.file_key]))
"#;

/// What the worker reads from its own disk of the output of the step `first`.
fn output_of_first(project: &Project, worker: &Worker, after: Option<String>) -> OutputPage {
    let (run_id, file_key) = serde_json::from_str(&project.python(CAPTURE)).unwrap();
    let reply = worker.call(Command::Query(Query::OutputFiles {
        run_id,
        file_key,
        after,
    }));
    let Reply::Answer(answer) = reply else {
        panic!("{reply:?}")
    };
    match *answer {
        Answer::StepOutput(page) => page,
        other => panic!("{other:?}"),
    }
}

fn execute(project: &Project, job: &str) -> Process {
    let definitions = project.definitions();
    let args = [
        "dagster",
        "job",
        "execute",
        "-f",
        definitions.to_str().unwrap(),
        "-j",
        job,
    ];
    Process::start(&mut project.module(args), job, project.folder())
}

fn newest_run(project: &Project) -> Value {
    serde_json::from_str(&project.python(STEP_EVENTS)).unwrap()
}

fn assert_each_step_ran_once(project: &Project, steps: usize) {
    let run = newest_run(project);
    assert_eq!(run["status"], "SUCCESS", "{run}");
    let events = run["steps"].as_object().unwrap();
    assert_eq!(events.len(), steps, "{run}");
    for (step, counts) in events {
        let once = serde_json::json!({"STEP_START": 1, "STEP_SUCCESS": 1});
        assert_eq!(counts, &once, "{step}");
    }
}

#[test]
fn a_job_of_fifty_steps_succeeds_with_each_step_once_in_the_event_log() {
    let broker = Broker::start();
    let project = Project::new(&broker, "fifty", JOBS);
    let mut worker = Worker::start(&project, 2, &[]);

    let mut job = execute(&project, "fifty");
    assert_eq!(
        job.wait(JOB),
        0,
        "{}\n{}",
        job.output(),
        worker.process.output()
    );

    assert_each_step_ran_once(&project, 50);
    let page = output_of_first(&project, &worker, None);
    assert_eq!(page.stdout, "counting from one\n");
    assert!(page.stderr.contains("STEP_SUCCESS") && !page.missing);
    let more = output_of_first(&project, &worker, page.after);
    assert_eq!((more.stdout.as_str(), more.stderr.as_str()), ("", ""));
    assert_eq!(worker.finish(), 0, "{}", worker.process.output());
    wait_until("no process is left", support::PATIENCE, || {
        processes_of(project.folder()).is_empty().then_some(())
    });
}

#[test]
fn sigterm_finishes_what_runs_and_gives_the_rest_back_to_another_worker() {
    let broker = Broker::start();
    let project = Project::new(&broker, "gated", JOBS);
    let mut first = Worker::start(&project, 2, &[]);
    let mut job = execute(&project, "gated");
    wait_until("two steps run", support::PATIENCE, || {
        let started = std::fs::read_dir(project.home()).unwrap().flatten();
        let started =
            started.filter(|entry| entry.file_name().to_string_lossy().starts_with("started-"));
        (started.count() == 2).then_some(())
    });

    first.process.signal("TERM");
    first.process.wait_for_line("is draining");
    let mut second = Worker::start(&project, 2, &[]);
    std::fs::write(project.home().join("gate"), "").unwrap();

    assert_eq!(first.process.wait(JOB), 0, "{}", first.process.output());
    assert_eq!(
        job.wait(JOB),
        0,
        "{}\n{}",
        job.output(),
        second.process.output()
    );
    assert_each_step_ran_once(&project, 4);
    assert_eq!(second.finish(), 0);
}
