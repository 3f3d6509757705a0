//! The GraphQL client against a real Dagster webserver.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use dagster_taskiq_tui::control::{Hub, HubOptions};
use dagster_taskiq_tui::dagster::{
    Client, DagsterError, Reexecution, RunDetail, RunFilter, TerminationPolicy,
};
use dagster_taskiq_tui::domain::{
    Answer, Command, EventPage, JobRef, Launch, Query, Reply, RunStatus, SourceHealth, SourceKind,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[path = "dagster/run_verbs.rs"]
mod run_verbs;
#[path = "dagster/webserver.rs"]
mod webserver;

use webserver::webserver;

async fn client() -> Client {
    Client::new(&webserver().await.url).unwrap()
}

/// A job of the test's definitions, as the webserver itself names it.
async fn job(client: &Client, name: &str) -> JobRef {
    let locations = client.locations().await.unwrap();
    let mut jobs = locations.into_iter().flat_map(|location| location.jobs);
    jobs.find(|job| job.reference.job == name)
        .unwrap()
        .reference
}

async fn until(client: &Client, run_id: &str, wanted: impl Fn(&RunDetail) -> bool) -> RunDetail {
    let limit = Duration::from_mins(2);
    let seen = async {
        loop {
            let run = client.run(run_id).await.unwrap();
            if wanted(&run) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(limit, seen)
        .await
        .expect("the run did not get there")
}

#[tokio::test]
async fn the_webserver_tells_its_version_and_its_jobs() {
    let client = client().await;
    let info = client.server_info().await.unwrap();
    assert!(info.dagster_version.starts_with("1."), "{info:?}");
    let locations = client.locations().await.unwrap();
    let [location] = &locations[..] else {
        panic!("one location was expected: {locations:?}");
    };
    assert_eq!((location.loading, &location.error), (false, &None));
    let names: Vec<&str> = location
        .jobs
        .iter()
        .map(|job| job.reference.job.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "__ASSET_JOB",
            "days",
            "endless",
            "failing",
            "greeting",
            "lasting",
            "numbers"
        ]
    );
    assert_eq!(
        location.jobs[6].tags,
        [("team".to_owned(), "data".to_owned())]
    );
}

#[tokio::test]
async fn a_launched_run_succeeds_and_is_listed_with_its_steps_and_its_log() {
    let client = client().await;
    let mut launch = Launch::job(job(&client, "numbers").await);
    launch.tags = vec![("dagster-taskiq/run_priority".to_owned(), "7".to_owned())];
    let launched = client.launch(&launch).await.unwrap();
    let run = until(&client, &launched.run_id, |run| run.status.is_finished()).await;
    assert_eq!(run.status, RunStatus::Success);
    assert_eq!((run.steps.len(), run.plan.len()), (2, 2));
    let double = run.plan.iter().find(|step| step.key == "double").unwrap();
    assert_eq!(double.depends_on, ["answer"]);

    let filter = RunFilter {
        run_ids: Some(vec![launched.run_id.clone()]),
        statuses: Some(vec![RunStatus::Success]),
        job: Some("numbers".to_owned()),
    };
    let page = client.runs(&filter, 10, None).await.unwrap();
    let [listed] = &page.runs[..] else {
        panic!("one run was expected: {page:?}");
    };
    assert_eq!(
        (listed.priority, listed.steps_total, &page.next),
        (Some(7), Some(2), &None)
    );
    assert!(listed.created_at < listed.ended_at);
    let stats = client
        .run_stats(std::slice::from_ref(&launched.run_id))
        .await
        .unwrap();
    let stats = stats.get(&launched.run_id).unwrap();
    assert_eq!(
        (stats.finished, stats.succeeded, stats.failed),
        (true, 2, 0)
    );

    let mut cursor = None;
    let mut events = Vec::new();
    loop {
        let page = client
            .logs(&launched.run_id, cursor.as_deref(), 5)
            .await
            .unwrap();
        assert!(page.events.len() <= 5);
        events.extend(page.events);
        cursor = Some(page.after);
        if !page.has_more {
            break;
        }
    }
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event.kind.as_deref())
        .collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "STEP_SUCCESS").count(),
        2
    );
    let logged = events
        .iter()
        .find(|event| event.message == "doubling 42")
        .unwrap();
    assert_eq!(logged.step_key.as_deref(), Some("double"));
    assert!(logged.at.is_some());
    let page = EventPage {
        events,
        ..EventPage::default()
    };
    let key = page.file_key("double").unwrap();
    let output = client.output(&launched.run_id, key, None).await.unwrap();
    assert!(output.stderr.contains("doubling 42"), "{output:?}");
    let more = client
        .output(&launched.run_id, key, output.after.as_deref())
        .await
        .unwrap();
    assert_eq!((more.stdout.as_str(), more.stderr.as_str()), ("", ""));
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_dagsters_own_words() {
    let client = client().await;
    let job = job(&client, "greeting").await;
    let refused = client.launch(&Launch::job(job.clone())).await.unwrap_err();
    let DagsterError::Refused { kind, reason } = &refused else {
        panic!("a refusal was expected: {refused:?}");
    };
    assert_eq!(kind, "RunConfigValidationInvalid");
    assert!(reason.contains("Missing required config entry"), "{reason}");

    let detail = client.job_detail(&job, &[]).await.unwrap();
    assert!(detail.default_config.contains("greet"), "{detail:?}");
    assert_eq!((detail.partitions.len(), detail.assets.len()), (0, 0));
    let check = async |yaml| client.validate(&job, &[], yaml).await.unwrap();
    let problems = check("ops: {greet: {config: {who: 3, whom: x}}}").await;
    let paths: Vec<&str> = problems.iter().map(|wrong| wrong.path.as_str()).collect();
    assert_eq!(paths, ["ops.greet.config", "ops.greet.config.who"]);
    assert!(problems[0].message.contains("whom"), "{problems:?}");
    assert_eq!(check("ops: {greet: {config: {who: you}}}").await, []);
}

#[tokio::test]
async fn a_partition_of_chosen_assets_is_launched_with_what_dagster_has_for_it() {
    let client = client().await;
    let days = job(&client, "days").await;
    let detail = client.job_detail(&days, &[]).await.unwrap();
    assert_eq!(detail.partitions[..2], ["2024-01-04", "2024-01-03"]);
    let keys = [vec!["report", "daily"], vec!["report", "weekly"]];
    assert_eq!(detail.assets, keys);

    let launch = Launch {
        partition: Some("2024-01-03".to_owned()),
        assets: vec![vec!["report".to_owned(), "daily".to_owned()]],
        ..Launch::job(days.clone())
    };
    let launched = client.launch(&launch).await.unwrap();
    let run = until(&client, &launched.run_id, |run| run.status.is_finished()).await;
    assert_eq!(run.status, RunStatus::Success);
    let steps: Vec<&str> = run.steps.iter().map(|step| step.key.as_str()).collect();
    assert_eq!(steps, ["report__daily"]);
    let page = client.logs(&launched.run_id, None, 1_000).await.unwrap();
    let said = page
        .events
        .iter()
        .any(|event| event.message == "the day is 2024-01-03");
    assert!(said, "{page:?}");

    let unknown = Launch {
        partition: Some("1999-01-01".to_owned()),
        ..Launch::job(days)
    };
    let error = client.launch(&unknown).await.unwrap_err().to_string();
    assert!(error.contains("1999-01-01"), "{error}");
}

#[tokio::test]
async fn a_code_location_is_loaded_again_and_an_unknown_one_is_refused() {
    let client = client().await;
    let location = client.locations().await.unwrap().swap_remove(0).name;
    client.reload_location(&location).await.unwrap();
    let error = client.reload_location("nowhere").await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[tokio::test]
async fn of_several_launches_each_has_its_own_outcome() {
    let client = client().await;
    let known = job(&client, "numbers").await;
    let unknown = JobRef {
        job: "no_such_job".to_owned(),
        ..known.clone()
    };
    let launches = [
        Launch::job(known.clone()),
        Launch::job(unknown),
        Launch::job(known),
    ];
    let outcomes = client.launch_many(&launches).await.unwrap();
    let fine: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(fine, [true, false, true]);

    let page = client.runs(&RunFilter::default(), 1, None).await.unwrap();
    let next = client
        .runs(&RunFilter::default(), 1, page.next.as_deref())
        .await
        .unwrap();
    assert_ne!(page.runs[0].run_id, next.runs[0].run_id);
    for launched in outcomes.into_iter().flatten() {
        until(&client, &launched.run_id, |run| run.status.is_finished()).await;
    }
}

#[tokio::test]
async fn a_failed_run_can_be_run_again_from_its_failure() {
    let client = client().await;
    let launched = client
        .launch(&Launch::job(job(&client, "failing").await))
        .await
        .unwrap();
    let run = until(&client, &launched.run_id, |run| run.status.is_finished()).await;
    assert_eq!(run.status, RunStatus::Failure);
    let page = client.logs(&launched.run_id, None, 1_000).await.unwrap();
    let failure = page
        .events
        .iter()
        .find(|event| event.kind.as_deref() == Some("STEP_FAILURE"));
    assert!(failure.unwrap().error.is_some());

    let again = client
        .reexecute(&launched.run_id, Reexecution::FromFailure)
        .await
        .unwrap();
    assert_ne!(again.run_id, launched.run_id);
    until(&client, &again.run_id, |run| run.status.is_finished()).await;
}

#[tokio::test]
async fn a_running_run_is_terminated_and_a_finished_or_unknown_one_is_refused() {
    let client = client().await;
    let launched = client
        .launch(&Launch::job(job(&client, "endless").await))
        .await
        .unwrap();
    until(&client, &launched.run_id, |run| !run.steps.is_empty()).await;
    let ids = [launched.run_id.clone(), "no-such-run".to_owned()];
    let outcomes = client
        .terminate(&ids, TerminationPolicy::Safe)
        .await
        .unwrap();
    assert_eq!(outcomes[0].result, Ok(()));
    let unknown = outcomes[1].result.as_ref().unwrap_err().to_string();
    assert!(unknown.contains("no-such-run"), "{unknown}");
    let run = until(&client, &launched.run_id, |run| run.status.is_finished()).await;
    assert_eq!(run.status, RunStatus::Canceled);

    let outcomes = client
        .terminate(&ids[..1], TerminationPolicy::MarkCanceled)
        .await
        .unwrap();
    let finished = outcomes[0].result.as_ref().unwrap_err().to_string();
    assert!(finished.contains("CANCELED"), "{finished}");
}

#[tokio::test]
async fn a_hub_lists_jobs_launches_one_and_shows_its_run() {
    let handle = Hub::start(HubOptions {
        discover: Vec::new(),
        webserver_url: Some(webserver().await.url.clone()),
        audit: None,
        ..HubOptions::default()
    });
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
    let check = Command::Ask(Query::CheckConfig(Box::new(bad.clone())));
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
    let client = client().await;
    let numbers = job(&client, "numbers").await;
    let made: Vec<Launch> = (0..3).map(|_| Launch::job(numbers.clone())).collect();
    for launched in client.launch_many(&made).await.unwrap() {
        let run_id = launched.unwrap().run_id;
        until(&client, &run_id, |run| run.status.is_finished()).await;
    }
    let handle = Hub::start(HubOptions {
        discover: Vec::new(),
        webserver_url: Some(webserver().await.url.clone()),
        audit: None,
        ..HubOptions::default()
    });
    let mut watch = handle.watch();
    let some = watch.wait_for(|snapshot| snapshot.runs.len() >= 3);
    let newest = some.await.unwrap().runs[0].run_id.clone();
    let ask = |before: Option<String>| {
        let statuses = vec![RunStatus::Success];
        handle.request(None, Command::Ask(Query::OlderRuns { statuses, before }))
    };
    let Reply::Answer(answer) = ask(Some(newest)).await.unwrap() else {
        panic!("older runs were not loaded");
    };
    let Answer::OlderRuns { count, .. } = *answer else {
        panic!("{answer:?}");
    };
    assert!(count >= 2, "{count}");
    let Reply::Answer(answer) = ask(None).await.unwrap() else {
        panic!("older runs were not loaded");
    };
    // Fewer than a page: there is none before those that are known.
    assert_eq!(
        *answer,
        Answer::OlderRuns {
            count: 0,
            last: true
        }
    );
}

#[tokio::test]
async fn a_webserver_that_is_not_there_is_a_badge_of_the_hub() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let handle = Hub::start(HubOptions {
        discover: Vec::new(),
        webserver_url: Some(url),
        audit: None,
        ..HubOptions::default()
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

#[tokio::test]
async fn an_address_where_nobody_listens_is_a_sentence_that_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&url).unwrap().server_info().await.unwrap_err();
    let sentence = error.to_string();
    assert!(
        matches!(error, DagsterError::Unreachable { .. }),
        "{sentence}"
    );
    assert!(
        sentence.contains(&url) && sentence.contains("refused"),
        "{sentence}"
    );
    assert!(matches!(
        Client::new("ftp://x"),
        Err(DagsterError::Url { .. })
    ));
    assert!(matches!(
        Client::new("not a url"),
        Err(DagsterError::Url { .. })
    ));
}

#[tokio::test]
async fn another_web_server_is_told_from_dagsters() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let page = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
            let _ = stream.write_all(page.as_bytes()).await;
        }
    });
    let client = Client::new(&url).unwrap();
    for error in [
        client.server_info().await.unwrap_err(),
        client.locations().await.unwrap_err(),
    ] {
        assert!(matches!(error, DagsterError::NotDagster { .. }), "{error}");
    }
    server.abort();
}
