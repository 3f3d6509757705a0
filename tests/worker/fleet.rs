//! The workers of a deployment, as `worker list` and the console's snapshot have them.

use crate::support;

use std::path::Path;

use dagster_taskiq_tui::domain::{Answer, Command, Query, Reply, WorkerState};
use serde_json::Value;
use support::scene::Scene;
use support::{PATIENCE, command, python, wait_until};

/// What `worker list --json` prints, by worker; `home` as `--dagster-home`.
pub fn list(runtime: &Path, home: Option<&Path>) -> Vec<Value> {
    let mut command = command();
    command.args(["worker", "list", "--json", "--runtime-dir"]);
    command.arg(runtime).arg("--python").arg(python());
    if let Some(home) = home {
        command.arg("--dagster-home").arg(home);
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn payload(task_id: &str) -> Command {
    Command::Query(Query::Payload {
        task_id: task_id.to_owned(),
    })
}

pub fn row<'a>(rows: &'a [Value], id: &str) -> Option<&'a Value> {
    rows.iter().find(|row| row["id"] == id)
}

#[test]
fn a_list_of_workers_has_those_of_the_whole_deployment_with_what_they_do_and_where() {
    let mut scene = Scene::new("fleet");
    let (here, elsewhere) = (
        scene.project.folder().join("here"),
        scene.project.folder().join("elsewhere"),
    );
    let home = scene.project.home();
    // Out of reach of `here`'s sockets, as a worker on another host is.
    let flags = ["--runtime-dir", elsewhere.to_str().unwrap()];
    let mut remote = scene.worker(3, &flags);
    let run = scene.side.launch("single");
    scene.side.wait_traced(&run, "gated");
    // What a console shows of a step in hand.
    let task = remote
        .status()
        .tasks
        .iter()
        .find(|task| !task.kind.is_run())
        .cloned();
    let task_id = task.unwrap().task_id;
    let Reply::Answer(answer) = remote.call(payload(&task_id)) else {
        panic!("no answer");
    };
    let Answer::Payload(body) = *answer else {
        panic!("not a message: {answer:?}");
    };
    for part in [&*run, &*task_id, "gated"] {
        assert!(body.contains(part), "{part}: {body}");
    }
    let unknown = Reply::Failed(String::from("no task nothing is in hand here"));
    assert_eq!(remote.call(payload("nothing")), unknown);
    let flags = ["--runtime-dir", here.to_str().unwrap()];
    let mut local = scene.worker(2, &flags);

    let listed = wait_until("the remote worker's step is listed", PATIENCE, || {
        let rows = list(&here, Some(&home));
        let busy = row(&rows, &remote.name)?["steps"]["busy"] == 1;
        (busy && row(&rows, &local.name)?["heartbeat_age_s"].is_u64()).then_some(rows)
    });
    assert_eq!(listed.len(), 2, "{listed:#?}");
    let uname = rustix::system::uname();
    let hostname = uname.nodename().to_str().unwrap();
    let far = row(&listed, &remote.name).unwrap();
    assert_eq!(far["hostname"], hostname);
    assert_eq!(far["pid"], remote.process.pid());
    assert_eq!(far["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(far["state"], "running");
    assert_eq!(far["steps"]["target"], 3);
    assert_eq!(far["runs"]["busy"], 1);
    assert_eq!(far["silent"], false);
    assert!(far["queues"].as_array().unwrap().contains(&"fleet".into()));
    assert!(far.get("socket").is_none(), "{far}");
    let near = row(&listed, &local.name).unwrap();
    assert!(near["socket"].is_string(), "{near}");
    assert_eq!(near["queues"], far["queues"]);

    // A console that is linked to the local one alone knows of both, and so does a list that knows
    // no DAGSTER_HOME.
    wait_until("the snapshot has both", PATIENCE, || {
        let fleet = local.status().fleet.clone();
        let ids: Vec<&str> = fleet.iter().map(|worker| worker.id.as_str()).collect();
        (ids.contains(&&*remote.name) && ids.contains(&&*local.name)).then_some(())
    });
    let rows = list(&here, None);
    assert!(row(&rows, &remote.name).is_some(), "{rows:#?}");

    // One that is killed stays, and is said to be silent; one that ends says so itself.
    remote.process.signal("KILL");
    remote.process.wait(PATIENCE);
    scene.side.open_gate(&run, None);
    let dead = wait_until("the killed one is silent", PATIENCE, || {
        let fleet = local.status().fleet.clone();
        let dead = fleet.iter().find(|worker| worker.id == remote.name)?;
        dead.is_silent(dagster_taskiq_tui::domain::Timestamp::now())
            .then(|| dead.clone())
    });
    assert_eq!(dead.state, Some(WorkerState::Running));
    scene.side.wait_status(&run, "SUCCESS");
    assert_eq!(local.finish(), 0, "{}", local.process.output());
    let rows = list(&here, Some(&home));
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(row(&rows, &remote.name).unwrap()["silent"], true);
}

#[test]
fn a_worker_that_is_stopped_leaves_the_list_as_one_that_drains_does() {
    let scene = Scene::new("left");
    let sockets = scene.project.folder().join("sockets");
    let home = scene.project.home();
    let flags = ["--runtime-dir", sockets.to_str().unwrap()];
    let [mut stopped, mut signalled, mut drained] = [(); 3].map(|()| scene.worker(1, &flags));
    let all = wait_until("all of them report", PATIENCE, || {
        let rows = list(Path::new("/nonexistent"), Some(&home));
        (rows.len() == 3).then_some(rows)
    });
    assert!(all.iter().all(|row| row["state"] == "running"), "{all:#?}");
    stopped.call(Command::Stop);
    signalled.process.signal("TERM");
    signalled.process.signal("INT");
    assert_eq!(drained.finish(), 0);
    for worker in [&mut stopped, &mut signalled] {
        let code = worker.process.wait(PATIENCE);
        let output = worker.process.output();
        assert_eq!(code, 0, "{output}");
        assert!(!output.contains("WARN"), "{output}");
    }
    let left = list(&sockets, Some(&home));
    assert!(left.is_empty(), "{left:#?}");
}
