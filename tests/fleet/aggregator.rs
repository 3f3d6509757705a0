//! The control layer as a whole: store, socket, client and aggregator, over real sockets.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dagster_taskiq_tui::domain::{
    Command, Event, EventSink, JobRef, Launch, Reply, Snapshot, SourceHealth, SourceKind,
    TaskOutcome, TaskView, Timestamp, WorkerState,
};
use dagster_taskiq_tui::fleet::{Aggregator, AggregatorOptions, Handle, client, wait_for_socket};
use dagster_taskiq_tui::protocol::frames::{LogStart, PROTOCOL, ServerFrame, ServerHello};
use dagster_taskiq_tui::protocol::{ControlError, frames};
use futures::SinkExt;

use crate::worker;

use worker::{Place, queue};

const PATIENCE: Duration = Duration::from_secs(20);

/// An aggregator that looks at one place often.
fn aggregator(place: &Place) -> Handle {
    Aggregator::start(options(place))
}

fn options(place: &Place) -> AggregatorOptions {
    AggregatorOptions {
        discover: vec![place.run()],
        discover_every: Duration::from_millis(50),
        audit: Some(place.audit()),
        ..AggregatorOptions::default()
    }
}

/// The first snapshot that is as wanted.
async fn until(handle: &Handle, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let mut watch = handle.watch();
    let seen = watch.wait_for(|snapshot| wanted(snapshot));
    let Ok(snapshot) = tokio::time::timeout(PATIENCE, seen).await else {
        panic!("not seen; the last snapshot is {:#?}", handle.snapshot());
    };
    Arc::clone(&snapshot.unwrap())
}

async fn ask(handle: &Handle, worker: Option<&str>, command: Command) -> Reply {
    let outcome = handle.request(worker.map(str::to_owned), command);
    tokio::time::timeout(PATIENCE, outcome)
        .await
        .unwrap()
        .unwrap()
}

fn worker_health(snapshot: &Snapshot) -> Option<&SourceHealth> {
    let source = snapshot
        .sources
        .iter()
        .find(|source| source.kind == SourceKind::Worker)?;
    Some(&source.health)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn launch() -> Command {
    Command::LaunchRun(Launch::job(JobRef {
        location: "l".to_owned(),
        repository: "r".to_owned(),
        job: "j".to_owned(),
    }))
}

#[tokio::test]
async fn an_aggregator_finds_a_worker_shows_its_steps_and_carries_commands_to_it() {
    let place = Place::new();
    let handle = aggregator(&place);
    assert_eq!(
        worker_health(&handle.snapshot()),
        Some(&SourceHealth::Absent)
    );

    let worker = place.worker("one").await;
    worker.receive("a");
    worker.sink.send(Event::Started {
        task_id: "a".to_owned(),
        at: Timestamp::now(),
    });
    let snapshot = until(&handle, |snapshot| {
        snapshot.tasks.iter().any(TaskView::is_running)
    })
    .await;
    assert_eq!(worker_health(&snapshot), Some(&SourceHealth::Up));
    assert_eq!(snapshot.workers[0].steps.busy, 1);
    assert_eq!(
        (
            snapshot.priorities[0].priority,
            snapshot.priorities[0].running
        ),
        (5, 1)
    );

    let reply = ask(&handle, None, Command::Scale { steps: 7 }).await;
    assert_eq!(reply, Reply::Done("7 step slots".to_owned()));
    worker.sink.send(Event::Finished {
        task_id: "a".to_owned(),
        at: Timestamp::now(),
        outcome: TaskOutcome::Success,
    });
    let snapshot = until(&handle, |snapshot| !snapshot.recent.is_empty()).await;
    assert!(snapshot.tasks.is_empty());
    assert_eq!(
        (
            snapshot.workers[0].finished,
            snapshot.workers[0].steps.target
        ),
        (1, 7)
    );
}

#[tokio::test]
async fn a_hundred_commands_given_at_once_are_all_carried_out() {
    let place = Place::new();
    let handle = aggregator(&place);
    let _worker = place.worker("one").await;
    until(&handle, |snapshot| {
        worker_health(snapshot) == Some(&SourceHealth::Up)
    })
    .await;
    let ask = |steps| ask(&handle, Some("one"), Command::Scale { steps });
    let replies = futures::future::join_all((0..100).map(ask)).await;
    let wanted: Vec<Reply> = (0..100)
        .map(|steps| Reply::Done(format!("{steps} step slots")))
        .collect();
    assert_eq!(replies, wanted);
}

#[tokio::test]
async fn two_workers_answer_as_one_and_one_can_be_named() {
    let place = Place::new();
    let (one, two) = (place.worker("one").await, place.worker("two").await);
    let handle = aggregator(&place);
    until(&handle, |snapshot| snapshot.workers.len() == 2).await;
    let reply = ask(&handle, None, Command::Pause).await;
    assert_eq!(reply, Reply::Done("2 workers: paused".to_owned()));
    until(&handle, |snapshot| {
        snapshot
            .workers
            .iter()
            .all(|worker| worker.state == WorkerState::Paused)
    })
    .await;

    ask(&handle, Some("two"), Command::Resume).await;
    let snapshot = until(&handle, |snapshot| {
        snapshot
            .workers
            .iter()
            .any(|worker| worker.state == WorkerState::Running)
    })
    .await;
    let states: Vec<_> = snapshot
        .workers
        .iter()
        .map(|worker| (&*worker.id, worker.state))
        .collect();
    assert_eq!(
        states,
        [("one", WorkerState::Paused), ("two", WorkerState::Running)]
    );
    let unknown = ask(&handle, Some("three"), Command::Pause).await;
    assert_eq!(
        unknown,
        Reply::Failed("worker pause was not sent: worker three is not connected".to_owned())
    );
    drop((one, two));
}

#[tokio::test]
async fn a_queue_is_drained_by_one_worker_that_is_subscribed_to_it() {
    let place = Place::new();
    let (_one, two) = (place.worker("one").await, place.worker("two").await);
    two.sink.send(queue("q"));
    let handle = aggregator(&place);
    until(&handle, |snapshot| {
        snapshot.workers.len() == 2 && !snapshot.queues.is_empty()
    })
    .await;
    let drain = |name: &str| Command::DrainQueue {
        queue: name.to_owned(),
        keep_waiting: false,
    };
    let reply = ask(&handle, None, drain("q")).await;
    assert_eq!(reply, Reply::Failed("no queue drain here".to_owned()));
    let Reply::Failed(reason) = ask(&handle, None, drain("other")).await else {
        panic!("nobody has that queue");
    };
    assert!(
        reason.contains("no connected worker is subscribed to queue other"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_worker_that_goes_away_leaves_its_last_data_and_is_linked_again_when_it_returns() {
    let place = Place::new();
    let worker = place.worker("one").await;
    worker.receive("a");
    let handle = aggregator(&place);
    until(&handle, |snapshot| snapshot.tasks.len() == 1).await;
    drop(worker);
    let snapshot = until(&handle, |snapshot| {
        matches!(worker_health(snapshot), Some(SourceHealth::Down { .. }))
    })
    .await;
    assert_eq!(snapshot.tasks.len(), 1);
    let source = snapshot
        .sources
        .iter()
        .find(|source| source.kind == SourceKind::Worker)
        .unwrap();
    assert!(source.seen_at.is_some());

    let again = place.worker("one").await;
    again.receive("b");
    until(&handle, |snapshot| {
        worker_health(snapshot) == Some(&SourceHealth::Up)
            && snapshot.tasks.iter().any(|task| task.task_id == "b")
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_stopped_is_forgotten_after_a_while() {
    let place = Place::new();
    let worker = place.worker("one").await;
    let handle = Aggregator::start(AggregatorOptions {
        forget_after: Duration::from_millis(500),
        ..options(&place)
    });
    until(&handle, |snapshot| snapshot.workers.len() == 1).await;
    worker.stop().await;
    let snapshot = until(&handle, |snapshot| {
        snapshot
            .workers
            .iter()
            .any(|worker| worker.state == WorkerState::Stopped)
    })
    .await;
    assert_eq!(snapshot.workers.len(), 1);
    let snapshot = until(&handle, |snapshot| snapshot.workers.is_empty()).await;
    assert_eq!(worker_health(&snapshot), Some(&SourceHealth::Absent));
}

#[tokio::test]
async fn a_snapshot_is_new_only_when_something_changed_and_keeps_its_other_parts() {
    let place = Place::new();
    let worker = place.worker("one").await;
    worker.receive("a");
    let handle = aggregator(&place);
    let before = until(&handle, |snapshot| snapshot.tasks.len() == 1).await;
    worker.log("hello");
    let after = until(&handle, |snapshot| snapshot.logs.len() == 1).await;
    assert!(after.revision > before.revision);
    assert!(Arc::ptr_eq(&after.tasks, &before.tasks));
    assert!(Arc::ptr_eq(&after.workers, &before.workers));
    assert!(Arc::ptr_eq(&after.runs, &before.runs));
}

#[tokio::test]
async fn log_lines_arrive_once_and_those_that_came_too_fast_are_counted() {
    let place = Place::new();
    let worker = place.worker("one").await;
    let handle = aggregator(&place);
    for number in 0..300 {
        worker.log(&number.to_string());
    }
    let last =
        |snapshot: &Snapshot, text: &str| snapshot.logs.iter().any(|line| line.message == text);
    let snapshot = until(&handle, |snapshot| last(snapshot, "299")).await;
    let numbers: Vec<String> = snapshot
        .logs
        .iter()
        .map(|line| line.message.clone())
        .collect();
    let expected: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);

    // More than the worker remembers.
    for number in 0..7_000 {
        worker.log(&format!("fast {number}"));
    }
    let snapshot = until(&handle, |snapshot| last(snapshot, "fast 6999")).await;
    assert!(snapshot.logs.len() <= 2_000);
    let wants = client::SubscribeOptions {
        read_only: true,
        snapshots: false,
        logs: LogStart::After(0),
    };
    let late = client::Connection::open(worker.socket()).await.unwrap();
    let (mut input, _output) = late.start(wants).await.unwrap();
    let ServerFrame::Logs { lines, missed, .. } = input.next().await.unwrap() else {
        panic!("log lines were expected");
    };
    assert_eq!((missed, &*lines[0].message), (2_300, "fast 2000"));
}

#[tokio::test]
async fn log_lines_of_the_console_itself_are_shown_too() {
    let place = Place::new();
    let (sink, events) = EventSink::channel();
    let handle = Aggregator::start(AggregatorOptions {
        own_events: Some(events),
        ..options(&place)
    });
    sink.send(worker::log_line("from the console"));
    let snapshot = until(&handle, |snapshot| !snapshot.logs.is_empty()).await;
    assert_eq!(snapshot.logs[0].message, "from the console");
}

#[tokio::test]
async fn a_read_only_console_or_worker_refuses_and_every_command_is_in_the_audit_log() {
    let place = Place::new();
    let worker = place.worker("one").await;
    let careful = Aggregator::start(AggregatorOptions {
        read_only: true,
        ..options(&place)
    });
    until(&careful, |snapshot| snapshot.workers.len() == 1).await;
    let refused = ask(&careful, None, Command::Pause).await;
    assert_eq!(
        refused,
        Reply::Failed("worker pause was refused: this console is read-only".to_owned())
    );
    let paused = client::call(worker.socket(), Command::Pause).await.unwrap();
    assert_eq!(paused, Reply::Done("paused".to_owned()));

    let guarded = place.try_worker("two", true).await.unwrap();
    let refused = client::call(guarded.socket(), Command::Resume)
        .await
        .unwrap();
    assert_eq!(
        refused,
        Reply::Failed("worker resume was refused: worker two is read-only".to_owned())
    );

    let audit = std::fs::read_to_string(place.audit()).unwrap();
    let lines: Vec<serde_json::Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let recorded: Vec<_> = lines
        .iter()
        .map(|line| {
            let [verb, target, text] = ["verb", "target", "text"].map(|name| line[name].as_str());
            (verb, target, line["done"].as_bool(), text)
        })
        .collect();
    let entry = |verb, target, done, text| (Some(verb), Some(target), Some(done), Some(text));
    let expected = [
        entry(
            "worker pause",
            "every worker",
            false,
            "worker pause was refused: this console is read-only",
        ),
        entry("worker pause", "one", true, "paused"),
        entry(
            "worker resume",
            "two",
            false,
            "worker resume was refused: worker two is read-only",
        ),
    ];
    assert_eq!(recorded, expected);
    assert_eq!(lines[0]["host"], frames::own_host());
    assert_eq!(mode(&place.audit()), 0o600);
}

#[tokio::test]
async fn a_client_that_says_it_is_read_only_is_refused_by_the_worker() {
    let place = Place::new();
    let worker = place.worker("one").await;
    let wants = client::SubscribeOptions {
        read_only: true,
        snapshots: false,
        logs: LogStart::Never,
    };
    let connection = client::Connection::open(worker.socket()).await.unwrap();
    let (mut input, mut output) = connection.start(wants).await.unwrap();
    output.command(9, Command::Stop, None).await.unwrap();
    let reply = Reply::Failed("worker stop was refused: this console is read-only".to_owned());
    assert_eq!(
        input.next().await.unwrap(),
        ServerFrame::Reply { id: 9, reply }
    );
}

#[tokio::test]
async fn commands_that_nobody_carries_out_get_a_sentence() {
    let place = Place::new();
    let worker = place.worker("one").await;
    let reply = client::call(worker.socket(), Command::Stop).await.unwrap();
    let reason = "worker one ended before it answered worker stop".to_owned();
    assert_eq!(reply, Reply::Failed(reason));
    let reply = client::call(worker.socket(), launch()).await.unwrap();
    let reason = "run launch goes to Dagster's webserver, not to worker one".to_owned();
    assert_eq!(reply, Reply::Failed(reason));

    let handle = Aggregator::start(AggregatorOptions {
        discover: Vec::new(),
        ..options(&place)
    });
    let Reply::Failed(reason) = ask(&handle, None, Command::Pause).await else {
        panic!("there is no worker");
    };
    assert_eq!(
        reason,
        "worker pause was not sent: no worker is connected; start one"
    );
    let Reply::Failed(reason) = ask(&handle, None, launch()).await else {
        panic!("there is no webserver");
    };
    assert!(
        reason.contains("no Dagster webserver is configured"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_console_that_was_told_of_no_webserver_asks_the_one_a_worker_s_configuration_names() {
    let mut place = Place::new();
    // Nothing listens on port 1.
    let url = "http://127.0.0.1:1";
    place.webserver_url = Some(url.to_owned());
    let _worker = place.worker("one").await;
    let handle = Aggregator::start(options(&place));
    let snapshot = until(&handle, |snapshot| {
        let source = snapshot.webserver();
        source.is_some_and(|source| matches!(source.health, SourceHealth::Down { .. }))
    })
    .await;
    assert_eq!(snapshot.webserver().unwrap().address, url);

    let own = "http://127.0.0.1:2";
    let handle = Aggregator::start(AggregatorOptions {
        webserver_url: Some(own.to_owned()),
        ..options(&place)
    });
    let snapshot = until(&handle, |snapshot| !snapshot.workers.is_empty()).await;
    assert_eq!(snapshot.webserver().unwrap().address, own);
}

#[tokio::test]
async fn the_socket_is_private_and_its_name_is_taken_while_the_worker_lives() {
    let place = Place::new();
    let worker = place.worker("one").await;
    assert_eq!((mode(worker.socket()), mode(&place.run())), (0o600, 0o700));
    let taken = place
        .try_worker("one", false)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(taken, ControlError::Taken { .. }), "{taken}");
    let path = worker.socket().to_owned();
    worker.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn sockets_of_dead_workers_are_removed_by_the_next_one() {
    let place = Place::new();
    drop(place.worker("one").await);
    let dead = place.run().join("dead.sock");
    drop(UnixListener::bind(&dead).unwrap());
    assert!(dead.exists());
    let worker = place.worker("two").await;
    assert!(!dead.exists());
    let found = client::discover_in(&[place.run()]).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&*found[0].worker, found[0].pid),
        ("two", std::process::id())
    );
    assert_eq!(found[0].path, worker.socket());
}

#[tokio::test]
async fn the_state_of_a_worker_can_be_asked_for_once() {
    let place = Place::new();
    let worker = place.worker("one").await;
    worker.receive("a");
    let limit = Duration::from_secs(10);
    let seen = async {
        while client::status(worker.socket())
            .await
            .unwrap()
            .tasks
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(limit, seen).await.unwrap();
    let gone = client::status(&place.run().join("none.sock"))
        .await
        .unwrap_err();
    assert!(matches!(gone, ControlError::Connect { .. }), "{gone}");
}

#[tokio::test]
async fn a_caller_can_wait_for_a_worker_that_it_started() {
    let place = Place::new();
    let socket = place.run().join("late.sock");
    let waiting = tokio::spawn({
        let socket = socket.clone();
        async move { wait_for_socket(&socket, PATIENCE).await }
    });
    let worker = place.worker("late").await;
    assert_eq!(worker.socket(), socket);
    assert_eq!(waiting.await.unwrap().unwrap().worker, "late");
    let never = wait_for_socket(&place.run().join("never.sock"), Duration::from_millis(50)).await;
    assert!(
        matches!(never, Err(ControlError::Timeout { .. })),
        "{never:?}"
    );
}

#[tokio::test]
async fn a_worker_of_another_protocol_is_named_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("new.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let hello = ServerFrame::Hello(ServerHello {
            protocol: PROTOCOL + 1,
            version: "9.9.9".to_owned(),
            worker: "new".to_owned(),
            pid: 1,
            read_only: false,
            webserver_url: None,
        });
        let mut output = frames::writer(stream);
        output.send(frames::encode(&hello).unwrap()).await.unwrap();
    });
    let sentence = client::Connection::open(&socket)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        sentence.contains("9.9.9") && sentence.contains("protocol 2"),
        "{sentence}"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn a_console_that_reads_nothing_misses_snapshots_and_holds_nobody_up() {
    let place = Place::new();
    let worker = place.worker("one").await;
    for number in 0..2_000 {
        worker.receive(&number.to_string());
    }
    let wants = client::SubscribeOptions {
        read_only: true,
        snapshots: true,
        logs: LogStart::Never,
    };
    let stuck = client::Connection::open(worker.socket()).await.unwrap();
    let (mut input, _output) = stuck.start(wants).await.unwrap();
    let handle = aggregator(&place);
    // A frame of 2,000 tasks is larger than a socket's buffer: the stuck one takes none of these.
    for steps in 0..20 {
        worker.sink.send(Event::Slots {
            steps,
            runs: 1,
            range: None,
        });
        until(&handle, |snapshot| {
            snapshot
                .workers
                .first()
                .is_some_and(|worker| worker.steps.target == steps)
        })
        .await;
    }
    let limit = tokio::time::timeout(PATIENCE, async {
        loop {
            if let ServerFrame::Snapshot { snapshot, skipped } = input.next().await.unwrap()
                && snapshot.worker.steps.target == 19
            {
                return skipped;
            }
        }
    });
    assert!(limit.await.expect("the last state arrives") > 0);
}
