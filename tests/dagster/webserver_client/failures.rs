//! Failed runs against a real webserver: grouped by exception, executed again once.

use dagster_taskiq_tui::domain::{
    Answer, Command, FailedRun, Launch, Query, Reply, Settled, Timestamp,
};
use dagster_taskiq_tui::fleet::{Aggregator, AggregatorOptions};
use jiff::SignedDuration;

use super::run_verbs::{Shell, lines, text};
use super::{client, job, until, webserver};

/// Launches a run of the job `breaking` and waits for its failure.
async fn broken() -> String {
    let client = client().await;
    let launch = Launch::job(job(&client, "breaking").await);
    let run_id = client.launch(&launch).await.unwrap().run_id;
    until(&client, &run_id, |run| run.status.is_finished()).await;
    run_id
}

fn an_hour_ago() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(1)
}

/// The failed runs of the last hour, page by page.
async fn failed_runs() -> Vec<FailedRun> {
    let (client, mut found, mut before) = (client().await, Vec::new(), None);
    loop {
        let page = client
            .failed_runs(an_hour_ago(), before.as_deref())
            .await
            .unwrap();
        assert!(page.total >= u64::try_from(page.runs.len()).unwrap());
        found.extend(page.runs);
        before = page.next;
        if before.is_none() {
            return found;
        }
    }
}

/// Executes a run again through a console's aggregator, twice: the second command leaves it alone.
/// The id of its re-execution.
async fn executed_once(run_id: &str) -> String {
    let handle = Aggregator::start(AggregatorOptions {
        discover: Vec::new(),
        webserver_url: Some(webserver().await.url.clone()),
        audit: None,
        ..AggregatorOptions::default()
    });
    let again = Command::ReexecuteRun {
        run_id: run_id.to_owned(),
        from_failure: true,
        if_open: true,
    };
    let Reply::Done(first) = handle.request(None, again.clone()).await.unwrap() else {
        panic!("the run was not executed again");
    };
    let Reply::Done(second) = handle.request(None, again).await.unwrap() else {
        panic!("the second command failed");
    };
    assert!(first.starts_with("launched run"), "{first}");
    assert!(second.contains("was left alone"), "{second}");
    let since = an_hour_ago();
    let ask = Command::Query(Query::FailedRuns {
        since,
        before: None,
    });
    let Reply::Answer(answer) = handle.request(None, ask).await.unwrap() else {
        panic!("the failed runs were not listed");
    };
    assert!(matches!(*answer, Answer::FailedRuns(page) if page.total >= 3));
    let all = failed_runs().await;
    let known = all.iter().find(|run| run.run_id == run_id).unwrap();
    let Some(Settled::Reexecuted { run_id: child }) = &known.settled else {
        panic!("{known:?}");
    };
    assert!(first.contains(child.as_str()), "{first}: {child}");
    until(&client().await, child, |run| run.status.is_finished()).await;
    child.clone()
}

#[tokio::test]
async fn failures_are_grouped_by_exception_and_a_run_is_executed_again_only_once() {
    let shell = Shell::new().await;
    let mut broken_runs = Vec::new();
    for _ in 0..3 {
        broken_runs.push(broken().await);
    }
    let found = client().await.failures_of(&broken_runs[..1]).await.unwrap();
    let [failure] = &found[0].failures[..] else {
        panic!("one failure was expected: {found:?}");
    };
    assert_eq!(failure.class, "DiskFullError");
    assert_eq!(failure.step_key.as_deref(), Some("break_down"));
    assert!(
        failure.text.contains("no space left for batch 7"),
        "{failure:?}"
    );
    assert!(failure.at.is_some() && !found[0].is_cut);
    let shown = shell.run(&format!("show {}", broken_runs[0])).await;
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(
        shown.contains("break_down failed") && shown.contains("no space left for batch 7"),
        "{shown}"
    );

    let child = executed_once(&broken_runs[0]).await;
    let groups = shell.json("failures --job breaking --since 1h").await;
    let [group] = &groups[..] else {
        panic!("one group was expected: {groups:?}");
    };
    assert_eq!(
        (&group["class"], &group["count"], &group["open"]),
        (&"DiskFullError".into(), &4.into(), &3.into())
    );

    let line = "reexecute --group DiskFullError --job breaking --since 1h --per-minute 600";
    let counted = shell.run(&format!("{line} --json")).await;
    let errors = String::from_utf8_lossy(&counted.stderr);
    assert!(
        errors.contains("3 runs would be executed again"),
        "{errors}"
    );
    assert_eq!(lines(&counted).len(), 3);
    let refused = shell.sentence(&format!("{line} --yes --read-only")).await;
    assert!(refused.contains("read-only"), "{refused}");
    let launched = shell.json(&format!("{line} --yes")).await;
    let of = |value: &serde_json::Value| text(&value["run_id"]);
    let mut first: Vec<String> = launched.iter().map(of).collect();
    assert_eq!(first[..2], broken_runs[1..], "the oldest first");
    assert!(first.contains(&child));
    // What a console or a command that died has done is not done again.
    let again = shell.json(&format!("{line} --yes")).await;
    first.push(broken_runs[0].clone());
    assert!(
        again.iter().all(|run| !first.contains(&of(run))),
        "{again:?}"
    );
    let unknown = shell
        .sentence("reexecute --group DiskFulError --since 1h")
        .await;
    assert!(
        unknown.contains("the nearest is DiskFullError"),
        "{unknown}"
    );
    let audited = shell.audit();
    assert!(
        audited
            .iter()
            .filter(|entry| entry["verb"] == "run reexecute")
            .count()
            >= 4
    );
}
