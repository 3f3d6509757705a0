//! The GraphQL client against a real Dagster webserver.

use std::time::Duration;

use dagster_taskiq_tui::dagster::{
    Client, DagsterError, Reexecution, RunDetail, RunFilter, TerminationPolicy,
};
use dagster_taskiq_tui::domain::{EventPage, JobRef, Launch, RunStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

mod aggregator;
mod failures;
mod hostile;
mod parts;
mod relay;
mod run_verbs;
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
            "breaking",
            "days",
            "endless",
            "failing",
            "greeting",
            "lasting",
            "numbers"
        ]
    );
    assert_eq!(
        location.jobs[7].tags,
        [("team".to_owned(), "data".to_owned())]
    );
}

#[tokio::test]
async fn a_launched_run_succeeds_and_is_listed_with_its_steps_and_its_log() {
    let client = client().await;
    let mut launch = Launch::job(job(&client, "numbers").await);
    launch.run_config = "# nothing to configure\n".to_owned();
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
        tags: launch.tags.clone(),
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
    for nothing in ["", "# who is to be greeted\n", "---\n# nobody\n"] {
        let problems = check(nothing).await;
        assert!(
            problems[0].message.contains("Missing required"),
            "{problems:?}"
        );
    }
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
    let error = failure.unwrap().error.as_deref().unwrap();
    let own = error.lines().last();
    assert_eq!(own, Some("ValueError: this step always fails"), "{error}");

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
