//! Attaching to other hosts: the real `ssh`, a real sshd on 127.0.0.1, the real binary over there.

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Output};
use std::sync::Arc;
use std::time::Duration;

use dagster_taskiq_tui::domain::{
    AuditEntry, Command, Reply, Snapshot, Source, SourceHealth, SourceKind, TaskView,
};
use dagster_taskiq_tui::fleet::ssh::Ssh;
use dagster_taskiq_tui::fleet::{Aggregator, AggregatorOptions, Handle};

mod sshd;
use crate::worker;

use sshd::{Keys, Sshd};
use worker::Place;

const PATIENCE: Duration = Duration::from_secs(40);

const PROGRAM: &str = env!("CARGO_BIN_EXE_dagster-taskiq-tui");

fn aggregator(hosts: &[&str], command: Vec<String>, folder: &Path) -> Handle {
    let ssh = Ssh {
        command,
        program: PROGRAM.to_owned(),
        runtime_dir: Some(folder.to_owned()),
    };
    Aggregator::start(AggregatorOptions {
        discover: Vec::new(),
        discover_every: Duration::from_millis(50),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ssh,
        audit: None,
        ..AggregatorOptions::default()
    })
}

/// The first snapshot that is as wanted.
async fn until(handle: &Handle, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let mut watch = handle.watch();
    let seen = watch.wait_for(|snapshot| wanted(snapshot));
    let Ok(snapshot) = tokio::time::timeout(PATIENCE, seen).await else {
        let last = handle.snapshot();
        panic!(
            "not seen: {what}; sources {:#?}, workers {:#?}",
            last.sources, last.workers
        );
    };
    Arc::clone(&snapshot.unwrap())
}

fn host<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Source> {
    let mut sources = snapshot.sources.iter();
    sources.find(|source| source.kind == SourceKind::Host && source.address == name)
}

/// Why a host is not connected.
fn reason<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a str> {
    match &host(snapshot, name)?.health {
        SourceHealth::Down { reason } => Some(reason),
        _ => None,
    }
}

async fn ask(handle: &Handle, worker: &str, command: Command) -> Reply {
    let outcome = handle.request(Some(worker.to_owned()), command);
    let within = tokio::time::timeout(PATIENCE, outcome).await;
    within.unwrap().unwrap()
}

fn audited(place: &Place) -> Vec<AuditEntry> {
    let text = fs::read_to_string(place.audit()).unwrap_or_default();
    let entries = text.lines().map(serde_json::from_str);
    entries.collect::<Result<_, _>>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_seen_and_commanded_through_ssh_and_its_hosts_keep_the_audit_log() {
    let Some(program) = sshd::program() else {
        return;
    };
    let (near, far) = (Place::new(), Place::new());
    let forced = format!(
        "{PROGRAM} control proxy --runtime-dir {}",
        far.run().display()
    );
    let keys = Keys::new();
    let one = Sshd::start(&program, &keys, "one", None);
    let two = Sshd::start(&program, &keys, "two", Some(&forced));
    let ssh = keys.ssh(&[("etl-a", &one), ("etl-b", &two)]);
    let (first, second) = (near.worker("first").await, far.worker("second").await);
    second.receive("task");
    second.log("a line from afar");

    let handle = aggregator(&["etl-a", "etl-b"], ssh, &near.run());
    let snapshot = until(&handle, "both workers", |snapshot| {
        snapshot.workers.len() == 2 && !snapshot.tasks.is_empty() && !snapshot.logs.is_empty()
    })
    .await;
    for name in ["etl-a", "etl-b"] {
        let health = host(&snapshot, name).map(|source| &source.health);
        assert_eq!(health, Some(&SourceHealth::Up), "{name}");
    }
    assert_eq!(snapshot.tasks[0].worker, "second");
    assert!(
        snapshot
            .logs
            .iter()
            .any(|line| line.message == "a line from afar")
    );
    let links = snapshot
        .sources
        .iter()
        .filter(|s| s.kind == SourceKind::Worker);
    let addresses: Vec<&str> = links.map(|source| source.address.as_str()).collect();
    assert_eq!(
        addresses,
        [
            format!("etl-a:{}", first.socket().display()),
            format!("etl-b:{}", second.socket().display())
        ]
    );

    let reply = ask(&handle, "second", Command::Scale { steps: 7 }).await;
    assert_eq!(reply, Reply::Done("7 step slots".to_owned()));
    until(&handle, "the slots of one worker", |snapshot| {
        let targets = snapshot.workers.iter().map(|worker| worker.steps.target);
        targets.eq([0, 7])
    })
    .await;
    let [entry] = &audited(&far)[..] else {
        panic!("one entry on the worker's host: {:?}", audited(&far));
    };
    assert_eq!(
        (
            entry.from.as_str(),
            entry.verb.as_str(),
            (entry.done, entry.text.as_str())
        ),
        (&*sshd::own_name(), "worker scale", (true, "7 step slots"))
    );
    assert_eq!(audited(&near), [], "the other worker was not asked");

    // Workers come and go.
    let third = near.worker("third").await;
    until(&handle, "the third worker", |snapshot| {
        snapshot.workers.len() == 3
    })
    .await;
    third.stop().await;
    until(&handle, "its end", |snapshot| {
        let third = snapshot.workers.iter().find(|worker| worker.id == "third");
        third.is_some_and(|worker| worker.state.word() == "stopped")
    })
    .await;
    drop((first, second, one, two));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_one_name_on_two_hosts_are_asked_apart_and_both_hosts_audit_logs_are_shown() {
    let Some(program) = sshd::program() else {
        return;
    };
    let (near, far) = (Place::new(), Place::new());
    let forced = |place: &Place| {
        let (state, run) = (place.state(), place.run());
        let (state, run) = (state.display(), run.display());
        format!("env XDG_STATE_HOME={state} {PROGRAM} control proxy --runtime-dir {run}")
    };
    let keys = Keys::new();
    let one = Sshd::start(&program, &keys, "one", Some(&forced(&near)));
    let mut two = Sshd::start(&program, &keys, "two", Some(&forced(&far)));
    let ssh = keys.ssh(&[("etl-a", &one), ("etl-b", &two)]);
    let workers = (near.worker("etl").await, far.worker("etl").await);
    workers.1.receive("task");

    let handle = aggregator(&["etl-a", "etl-b"], ssh, &near.run());
    let snapshot = until(&handle, "both workers", |snapshot| {
        snapshot.workers.len() == 2 && !snapshot.tasks.is_empty()
    })
    .await;
    // Both say that their host is this machine: only ssh tells them apart.
    let ids: Vec<&str> = snapshot.workers.iter().map(|worker| &*worker.id).collect();
    assert_eq!(ids, ["etl@etl-a", "etl@etl-b"]);
    assert_eq!(snapshot.workers[0].shared_name.as_deref(), Some("etl"));
    assert_eq!(snapshot.tasks[0].worker, "etl@etl-b");

    let several =
        "worker scale was not sent: several workers are named etl: say etl@etl-a or etl@etl-b";
    let reply = ask(&handle, "etl", Command::Scale { steps: 1 }).await;
    assert_eq!(reply, Reply::Failed(several.to_owned()));
    let reply = ask(&handle, "etl@etl-b", Command::Scale { steps: 7 }).await;
    assert_eq!(reply, Reply::Done("7 step slots".to_owned()));
    assert_eq!(audited(&near), [], "the other worker was not asked");
    assert_eq!(audited(&far).len(), 1);

    let reply = ask(&handle, "etl@etl-a", Command::Pause).await;
    assert_eq!(reply, Reply::Done("paused".to_owned()));
    let both = [audited(&near), audited(&far)].concat();
    let snapshot = until(&handle, "both audit logs", |snapshot| {
        snapshot.audit.len() == 2
    })
    .await;
    assert_eq!(*snapshot.audit, both, "newest first");
    two.stop();
    let snapshot = until(&handle, "the lost host", |snapshot| {
        reason(snapshot, "etl-b").is_some()
    })
    .await;
    assert_eq!(*snapshot.audit, both, "what was told stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_a_badge_with_what_was_known_and_comes_back_by_itself() {
    let Some(program) = sshd::program() else {
        return;
    };
    let place = Place::new();
    let keys = Keys::new();
    let mut server = Sshd::start(&program, &keys, "one", None);
    let ssh = keys.ssh(&[("etl-a", &server)]);
    let worker = place.worker("first").await;
    worker.receive("task");
    let handle = aggregator(&["etl-a"], ssh, &place.run());
    until(&handle, "the worker's task", |snapshot| {
        !snapshot.tasks.is_empty()
    })
    .await;

    server.stop();
    let snapshot = until(&handle, "the badge", |snapshot| {
        reason(snapshot, "etl-a").is_some()
    })
    .await;
    assert_eq!(snapshot.workers.len(), 1, "the last data are kept");
    assert!(
        snapshot
            .tasks
            .iter()
            .any(|task: &TaskView| task.task_id == "task")
    );
    assert!(
        host(&snapshot, "etl-a").unwrap().seen_at.is_some(),
        "their age is known"
    );
    let snapshot = until(&handle, "one badge only", |snapshot| {
        !snapshot
            .sources
            .iter()
            .any(|source| source.kind == SourceKind::Worker)
    })
    .await;
    let why = reason(&snapshot, "etl-a").unwrap_or_default();
    assert!(why.contains("127.0.0.1"), "ssh's own words: {why}");
    let reply = ask(&handle, "first", Command::Pause).await;
    let refused = "worker pause was not sent: worker first is not connected";
    assert_eq!(reply, Reply::Failed(refused.to_owned()));

    worker.receive("meanwhile");
    server.start_again();
    until(&handle, "what came meanwhile", |snapshot| {
        reason(snapshot, "etl-a").is_none() && snapshot.tasks.len() == 2
    })
    .await;
    assert_eq!(
        ask(&handle, "first", Command::Pause).await,
        Reply::Done("paused".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ssh_says_becomes_the_badge_s_sentence() {
    let Some(program) = sshd::program() else {
        return;
    };
    let place = Place::new();
    let keys = Keys::new();
    let server = Sshd::start(&program, &keys, "one", None);
    let chatty = Sshd::start(&program, &keys, "two", Some("echo Welcome to this host"));
    let mut ssh = keys.ssh(&[("etl-a", &server), ("chatty", &chatty)]);

    let sentence = async |name: &str, command: Vec<String>, program: &str| {
        let ssh = Ssh {
            command,
            program: program.to_owned(),
            runtime_dir: Some(place.run()),
        };
        let handle = Aggregator::start(AggregatorOptions {
            discover: Vec::new(),
            hosts: vec![name.to_owned()],
            ssh,
            audit: None,
            ..AggregatorOptions::default()
        });
        let snapshot = until(&handle, name, |snapshot| reason(snapshot, name).is_some()).await;
        reason(&snapshot, name).unwrap_or_default().to_owned()
    };

    let missing = sentence("etl-a", ssh.clone(), "/nowhere/dagster-taskiq-tui").await;
    assert!(missing.contains("/nowhere/dagster-taskiq-tui"), "{missing}");
    assert!(
        missing.ends_with("or name it with --remote-program"),
        "{missing}"
    );
    let older = sentence("chatty", ssh.clone(), PROGRAM).await;
    assert!(
        older.contains("see what `ssh chatty true` prints"),
        "{older}"
    );
    let nobody = sentence("etl-a", vec!["/nowhere/ssh".to_owned()], PROGRAM).await;
    assert!(nobody.starts_with("cannot start /nowhere/ssh:"), "{nobody}");

    fs::write(keys.path("known"), "").unwrap();
    let unknown = sentence("etl-a", ssh.clone(), PROGRAM).await;
    let wanted = "Host key verification failed; run `ssh etl-a` once and check its key";
    assert_eq!(unknown, wanted);

    ssh = keys.ssh(&[("etl-a", &server)]);
    fs::copy(keys.path("stranger"), keys.path("user")).unwrap();
    let refused = sentence("etl-a", ssh, PROGRAM).await;
    assert!(refused.contains("Permission denied"), "{refused}");
    assert!(refused.ends_with("load a key into your agent"), "{refused}");
}

fn attach(arguments: &[&str], home: &Path) -> Output {
    let mut process = Process::new(PROGRAM);
    process.arg("attach").args(arguments).env("HOME", home);
    process.env("XDG_STATE_HOME", home).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_prints_the_fleet_once_as_json_and_refuses_what_is_no_host() {
    let home = tempfile::tempdir().unwrap();
    let refused = attach(
        &["--host=-oProxyCommand=x", "--once", "--json"],
        home.path(),
    );
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(
        error.contains("`-oProxyCommand=x` is no host for ssh"),
        "{error}"
    );

    let Some(program) = sshd::program() else {
        return;
    };
    let place = Place::new();
    let keys = Keys::new();
    let server = Sshd::start(&program, &keys, "one", None);
    let ssh = keys.ssh(&[("etl-a", &server)]).join(" ");
    let worker = place.worker("first").await;
    let folder = place.run().display().to_string();
    let printed = tokio::task::spawn_blocking(move || {
        let arguments = [
            "--host",
            "etl-a",
            "--ssh-command",
            &ssh,
            "--remote-program",
            PROGRAM,
            "--remote-runtime-dir",
            &folder,
            "--once",
            "--json",
        ];
        attach(&arguments, home.path())
    })
    .await
    .unwrap();
    let error = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{error}");
    let snapshot: Snapshot = serde_json::from_slice(&printed.stdout).unwrap();
    let workers: Vec<&str> = snapshot.workers.iter().map(|worker| &*worker.id).collect();
    assert_eq!(workers, ["first"], "{error}");
    drop(worker);
}
