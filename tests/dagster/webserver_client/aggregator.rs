//! A console's aggregator against a real webserver.

use std::time::Duration;

use dagster_taskiq_tui::dagster::{Reexecution, RunFilter};
use dagster_taskiq_tui::domain::{
    Answer, Command, Launch, Query, Reply, RunStatus, RunView, Snapshot, SourceHealth, SourceKind,
};
use dagster_taskiq_tui::fleet::{Aggregator, AggregatorOptions, Handle};
use tokio::net::TcpListener;
use tokio::sync::RwLock;

use super::webserver::{add_runs, delete_runs};
use super::{client, job, until, webserver};

/// Held for writing while hundreds of runs are added: others count on theirs being among the newest.
static CROWD: RwLock<()> = RwLock::const_new(());

/// An aggregator of the webserver alone.
async fn aggregator() -> Handle {
    Aggregator::start(AggregatorOptions {
        discover: Vec::new(),
        webserver_url: Some(webserver().await.url.clone()),
        audit: None,
        ..AggregatorOptions::default()
    })
}

#[tokio::test]
async fn an_aggregator_lists_jobs_launches_one_and_shows_its_run() {
    let _calm = CROWD.read().await;
    let handle = aggregator().await;
    let mut watch = handle.watch();
    let snapshot = watch
        .wait_for(|snapshot| !snapshot.jobs.is_empty())
        .await
        .unwrap()
        .clone();
    let job = snapshot
        .jobs
        .iter()
        .find(|job| job.job == "numbers")
        .unwrap()
        .clone();
    let launch = Command::LaunchRun(Launch::job(job.clone()));
    let Reply::Done(sentence) = handle.request(None, launch).await.unwrap() else {
        panic!("the run was not launched");
    };
    let seen = watch.wait_for(|snapshot| {
        snapshot.runs.iter().any(|run| {
            let counted = (run.steps_succeeded, run.steps_total) == (2, Some(2));
            sentence.contains(&run.run_id) && run.status == RunStatus::Success && counted
        })
    });
    let patience = Duration::from_mins(2);
    let snapshot = tokio::time::timeout(patience, seen)
        .await
        .expect("the run is shown")
        .unwrap();
    let source = snapshot
        .sources
        .iter()
        .find(|source| source.kind == SourceKind::Webserver);
    assert_eq!(source.unwrap().health, SourceHealth::Up);
    drop(snapshot);

    let bad = Launch {
        run_config: "ops: {no_such_op: {}}".to_owned(),
        ..Launch::job(job)
    };
    let check = Command::Query(Query::CheckConfig(Box::new(bad.clone())));
    let Reply::Answer(answer) = handle.request(None, check).await.unwrap() else {
        panic!("the configuration was not checked");
    };
    let Answer::CheckConfig(problems) = *answer else {
        panic!("{answer:?}");
    };
    assert_eq!(problems[0].path, "ops");
    let bad = Command::LaunchRun(bad);
    let Reply::Failed(sentence) = handle.request(None, bad).await.unwrap() else {
        panic!("a bad configuration was accepted");
    };
    assert!(
        sentence.starts_with("numbers was not launched: Dagster refused:"),
        "{sentence}"
    );
    let run_ids = vec!["no-such-run".to_owned()];
    let unknown = handle
        .request(
            None,
            Command::TerminateRuns {
                run_ids,
                force: false,
            },
        )
        .await
        .unwrap();
    let Reply::Failed(sentence) = unknown else {
        panic!("an unknown run was terminated");
    };
    assert!(
        sentence.starts_with("1 of 1 runs were not terminated"),
        "{sentence}"
    );
}

#[tokio::test]
async fn older_runs_are_loaded_after_a_run_and_after_those_that_are_known() {
    let _calm = CROWD.read().await;
    let client = client().await;
    let numbers = job(&client, "numbers").await;
    let made: Vec<Launch> = (0..3).map(|_| Launch::job(numbers.clone())).collect();
    for launched in client.launch_many(&made).await.unwrap() {
        let run_id = launched.unwrap().run_id;
        until(&client, &run_id, |run| run.status.is_finished()).await;
    }
    let handle = aggregator().await;
    let mut watch = handle.watch();
    let some = watch.wait_for(|snapshot| snapshot.runs.len() >= 3);
    let newest = some.await.unwrap().runs[0].run_id.clone();
    let ask = |before: Option<String>| {
        let statuses = vec![RunStatus::Success];
        handle.request(None, Command::Query(Query::OlderRuns { statuses, before }))
    };
    let Reply::Answer(answer) = ask(Some(newest)).await.unwrap() else {
        panic!("older runs were not loaded");
    };
    let Answer::OlderRuns { count, .. } = *answer else {
        panic!("{answer:?}");
    };
    assert!(count >= 2, "{count}");
    // Page by page to the end.
    for _ in 0..20 {
        let all = Query::OlderRuns {
            statuses: Vec::new(),
            before: None,
        };
        let reply = handle.request(None, Command::Query(all)).await.unwrap();
        let Reply::Answer(answer) = reply else {
            panic!("older runs were not loaded: {reply:?}");
        };
        if matches!(*answer, Answer::OlderRuns { last: true, .. }) {
            return;
        }
    }
    panic!("there is no end");
}

#[tokio::test]
async fn a_webserver_that_is_not_there_is_a_badge_of_the_aggregator() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let handle = Aggregator::start(AggregatorOptions {
        discover: Vec::new(),
        webserver_url: Some(url),
        audit: None,
        ..AggregatorOptions::default()
    });
    let mut watch = handle.watch();
    let down = watch.wait_for(|snapshot| {
        let mut sources = snapshot.sources.iter();
        let source = sources.find(|source| source.kind == SourceKind::Webserver);
        matches!(
            source.map(|source| &source.health),
            Some(SourceHealth::Down { .. })
        )
    });
    tokio::time::timeout(Duration::from_secs(20), down)
        .await
        .unwrap()
        .unwrap();
}

/// The runs of a job, as shown, once `wanted` holds of them.
async fn shown(handle: &Handle, job: &str, wanted: impl Fn(&[&RunView]) -> bool) -> Vec<RunView> {
    let of_job = |snapshot: &Snapshot| {
        let runs = snapshot.runs.iter().filter(|run| run.job == job);
        runs.cloned().collect::<Vec<RunView>>()
    };
    let mut watch = handle.watch();
    let seen = watch.wait_for(|snapshot| wanted(&of_job(snapshot).iter().collect::<Vec<_>>()));
    let snapshot = tokio::time::timeout(Duration::from_mins(2), seen)
        .await
        .expect("the runs are shown")
        .unwrap();
    of_job(&snapshot)
}

#[tokio::test]
async fn however_many_runs_come_none_is_missing_and_a_deleted_one_goes() {
    let _crowd = CROWD.write().await;
    let job = "many";
    add_runs(job, 110).await;
    let handle = aggregator().await;
    shown(&handle, job, |runs| !runs.is_empty()).await;
    let older = Command::Query(Query::OlderRuns {
        statuses: Vec::new(),
        before: None,
    });
    let Reply::Answer(_) = handle.request(None, older).await.unwrap() else {
        panic!("older runs were not loaded");
    };
    shown(&handle, job, |runs| runs.len() == 110).await;
    add_runs(job, 130).await;
    let all = shown(&handle, job, |runs| runs.len() == 240).await;

    // One of the newest, one of those that were loaded.
    let gone = [all[3].run_id.clone(), all[235].run_id.clone()];
    delete_runs(&gone).await;
    let left = shown(&handle, job, |runs| runs.len() == 238).await;
    assert!(left.iter().all(|run| !gone.contains(&run.run_id)));
}

#[tokio::test]
async fn a_run_again_has_as_many_steps_as_its_own_plan() {
    let _calm = CROWD.read().await;
    let client = client().await;
    let first = client
        .launch(&Launch::job(job(&client, "numbers").await))
        .await
        .unwrap();
    until(&client, &first.run_id, |run| run.status.is_finished()).await;
    let again = client
        .reexecute(&first.run_id, Reexecution::AllSteps)
        .await
        .unwrap();
    until(&client, &again.run_id, |run| run.status.is_finished()).await;
    let by_id = RunFilter {
        run_ids: Some(vec![again.run_id.clone()]),
        ..RunFilter::default()
    };
    let listed = client.runs(&by_id, 1, None).await.unwrap().runs;
    assert_eq!(listed[0].steps_total, None, "Dagster's list does not tell");
    let handle = aggregator().await;
    let is_counted = |run: &&RunView| {
        let counted = (run.steps_succeeded, run.steps_total) == (2, Some(2));
        run.run_id == again.run_id && counted
    };
    shown(&handle, "numbers", |runs| runs.iter().any(is_counted)).await;
}
