//! The verbs of `worker` as an operator types them: a worker in the background, told what to do
//! through its control socket until it is gone.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Broker, PATIENCE, Process, Project, processes_of, wait_until};

const JOBS: &str = r#"
import os, time
from dagster import Definitions, job, op
from dagster_taskiq import taskiq_executor

@op
def endless(context):
    open(os.path.join(os.environ["DAGSTER_HOME"], "started"), "w").close()
    while True:
        time.sleep(0.05)

@job(executor_def=taskiq_executor)
def stuck():
    endless()

defs = Definitions(jobs=[stuck])
"#;

struct Shell {
    project: Project,
}

impl Shell {
    fn state(&self) -> PathBuf {
        self.project.folder().join("state")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = support::command();
        self.project.settings(&mut command);
        command
            .arg("worker")
            .args(arguments)
            .args(["--runtime-dir", "run"])
            .env("XDG_STATE_HOME", self.state())
            .env("HOME", self.project.folder())
            .env("PYTHONPATH", support::library());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a command that succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that fails.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} did not fail");
        String::from_utf8(output.stderr).unwrap()
    }

    fn start(&self, more: &[&str]) -> String {
        let python = support::python().to_str().unwrap();
        let words = [
            "start",
            "--background",
            "--workers",
            "2",
            "--python",
            python,
        ];
        self.says(&[&words[..], more].concat())
    }
}

impl Drop for Shell {
    /// Kills the workers in the background that a failed test leaves: their pid files are there.
    fn drop(&mut self) {
        let files = fs::read_dir(self.state().join("dagster-taskiq-tui"));
        let paths = files
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| file.path());
        for path in paths.filter(|path| path.extension().is_some_and(|ending| ending == "pid")) {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            let runs = fs::read_link(format!("/proc/{}/exe", pid.trim()));
            let is_ours = runs.is_ok_and(|program| program == support::binary());
            if let Some(pid) = pid.trim().parse().ok().filter(|_| is_ours) {
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
        }
    }
}

/// Cancels the one running step of the worker `one`, whose log has the attempt then.
fn cancel(shell: &Shell, log: &Path) {
    let status: Value = serde_json::from_str(&shell.says(&["status", "--json"])).unwrap();
    let run_id = status["tasks"][0]["run_id"].as_str().unwrap();
    let told = shell.says(&["cancel", &run_id[..8], "--step", "endless", "one"]);
    assert!(told.starts_with("one: interrupted"), "{told}");
    let log = fs::read_to_string(log).unwrap();
    let mut lines = log.lines();
    let line = lines.find(|line| line.contains("an operator cancels it"));
    let line = line.unwrap_or_else(|| panic!("not logged: {log}"));
    let task_id = status["tasks"][0]["task_id"].as_str().unwrap();
    for part in [run_id, "step_key=\"endless\"", "attempt=1", task_id] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn a_worker_in_the_background_is_steered_drained_and_killed_from_the_shell() {
    let broker = Broker::start();
    let project = Project::new(&broker, "verbs", JOBS);
    let shell = Shell { project };
    let files = shell.state().join("dagster-taskiq-tui");

    let failed = shell.fails(&[
        "start",
        "--background",
        "--name",
        "one",
        "--python",
        "/no/python",
    ]);
    assert!(failed.contains("the worker ended at its start"), "{failed}");
    assert!(failed.contains("/no/python"), "its own words: {failed}");

    let told = shell.start(&["--name", "one"]);
    let pid_file = files.join("one.pid");
    for part in ["worker one runs", pid_file.to_str().unwrap(), "one.err"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert!(PathBuf::from(format!("/proc/{}", pid.trim())).exists());
    let again = shell.fails(&["start", "--background", "--name", "one"]);
    assert!(again.contains("a worker named one already runs"), "{again}");

    assert_eq!(shell.says(&["scale", "5", "one"]), "one: 5 step slots\n");
    // A worker tells how it stands at most twenty times a second.
    wait_until("the new slots in the status", PATIENCE, || {
        let status = shell.says(&["status"]);
        status.contains("steps 0/5").then_some(())
    });
    assert_eq!(shell.says(&["scale", "-2", "one"]), "one: 3 step slots\n");
    assert!(shell.says(&["pause"]).starts_with("one: paused"));
    assert_eq!(shell.says(&["resume"]), "one: running\n");

    let definitions = shell.project.definitions();
    let job = [
        "dagster",
        "job",
        "execute",
        "-f",
        definitions.to_str().unwrap(),
        "-j",
        "stuck",
    ];
    let started = shell.project.home().join("started");
    let folder = shell.project.folder();
    let mut interrupted = Process::start(&mut shell.project.module(job), "interrupted", folder);
    wait_until("the step runs", PATIENCE, || started.exists().then_some(()));
    let nowhere = shell.fails(&["cancel", "nowhere"]);
    let reason = "it does not have the process of run nowhere";
    assert!(nowhere.contains(reason), "{nowhere}");
    cancel(&shell, &files.join("one.err"));
    assert_ne!(interrupted.wait(PATIENCE), 0, "{}", interrupted.output());
    fs::remove_file(&started).unwrap();

    // What does not end in time is interrupted; the countdown is told.
    let mut job = Process::start(&mut shell.project.module(job), "job", folder);
    wait_until("the step runs", PATIENCE, || started.exists().then_some(()));
    let drained = shell.run(&["drain", "--within", "5", "--wait"]);
    let error = String::from_utf8_lossy(&drained.stderr).into_owned();
    assert!(drained.status.success(), "{error}");
    assert!(
        error.contains("one is draining: 1 running, interrupts them in"),
        "{error}"
    );
    assert!(
        error.contains("one is stopping: 1 running, kills them in"),
        "{error}"
    );
    assert!(
        shell
            .fails(&["status"])
            .contains("no worker runs on this host")
    );
    wait_until("the pid file is gone", PATIENCE, || {
        (!pid_file.exists()).then_some(())
    });

    // Without a name it has its own host's and pid's, and so have its files.
    let told: Value = serde_json::from_str(&shell.start(&["--json"])).unwrap();
    let pid = told["pid"].as_u64().unwrap();
    let uname = rustix::system::uname();
    let own = format!("{}-{pid}", uname.nodename().to_str().unwrap());
    assert_eq!(told["worker"], own.as_str());
    let pid_file = fs::read_to_string(told["pid_file"].as_str().unwrap()).unwrap();
    assert_eq!(pid_file.trim(), pid.to_string());
    let log = fs::read_to_string(told["log"].as_str().unwrap()).unwrap();
    assert!(log.contains(&format!("worker {own} ready")), "{log}");
    let killed = shell.says(&["kill", &own]);
    assert!(
        killed.starts_with(&format!("{own}: killed (pid ")),
        "{killed}"
    );
    let audit = fs::read_to_string(files.join("audit.jsonl")).unwrap();
    let last = audit.lines().last().unwrap_or_default();
    let entry = format!(r#""verb":"worker kill","target":"{own}""#);
    assert!(last.contains(&entry), "{last}");

    job.signal("KILL");
    job.wait(PATIENCE);
    wait_until("no process is left", PATIENCE, || {
        processes_of(shell.project.folder())
            .is_empty()
            .then_some(())
    });
}

#[test]
fn a_worker_whose_name_is_like_a_flag_starts_in_the_background_and_a_wrong_pid_file_is_named() {
    let broker = Broker::start();
    let project = Project::new(&broker, "flags", JOBS);
    let shell = Shell { project };
    let python = support::python().to_str().unwrap();
    let pid_file = "/nowhere/x.pid";
    let unwritable = shell.fails(&["start", "--python", python, "--pid-file", pid_file]);
    let says = "dagster-taskiq-tui: cannot write the pid file /nowhere/x.pid: No such file";
    assert!(unwritable.contains(says), "{unwritable}");

    let told = shell.start(&["--name=-x"]);
    assert!(told.contains("worker -x runs"), "{told}");
    assert!(shell.says(&["status"]).contains("-x"));
    shell.says(&["drain", "--wait"]);
}
