//! What answers instead of a webserver does no harm: it sends the client nowhere else, cannot fill
//! its memory, what the client shows has no password in it, and its figures fit together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use dagster_taskiq_tui::dagster::{Client, DagsterError};
use dagster_taskiq_tui::domain::Timestamp;
use futures::stream;
use tokio::net::TcpListener;

/// A server that answers every request like that; its address.
async fn serve(answer: impl Fn(Request) -> Response + Clone + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(async move |request: Request| answer(request));
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let elsewhere = serve(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        StatusCode::OK.into_response()
    })
    .await;
    for status in [StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT] {
        let there = format!("http://{elsewhere}/graphql");
        let webserver =
            serve(move |_| (status, [(header::LOCATION, there.clone())]).into_response()).await;
        let client = Client::new(&format!("http://{webserver}")).unwrap();
        for error in [
            client.server_info().await.unwrap_err(),
            client.locations().await.unwrap_err(),
        ] {
            assert!(matches!(error, DagsterError::NotDagster { .. }), "{error}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    let webserver = serve(|_| {
        let part = Bytes::from(vec![b' '; 1 << 20]);
        let endless = stream::repeat_with(move || Ok::<_, std::io::Error>(part.clone()));
        Body::from_stream(endless).into_response()
    })
    .await;
    let client = Client::new(&format!("http://{webserver}")).unwrap();
    let error = client.locations().await.unwrap_err().to_string();
    assert!(error.contains("larger than 32 MiB"), "{error}");
}

#[tokio::test]
async fn a_password_in_the_address_is_sent_to_the_webserver_and_shown_nowhere() {
    let webserver = serve(|request| {
        let expected = "Basic YW5uOnMzY3JldA==";
        match request.headers().get(header::AUTHORIZATION) {
            Some(sent) if sent == expected => {
                r#"{"dagster_webserver_version": "1.2.3", "dagster_version": "1.2.3"}"#
                    .into_response()
            }
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    })
    .await;
    let client = Client::new(&format!("http://ann:s3cret@{webserver}/")).unwrap();
    assert_eq!(client.server_info().await.unwrap().dagster_version, "1.2.3");
    assert_eq!(client.address(), format!("http://{webserver}"));
    let errors = [
        client.locations().await.unwrap_err(),
        Client::new("http://ann:s3cret@127.0.0.1:1")
            .unwrap()
            .server_info()
            .await
            .unwrap_err(),
        Client::new("ftp://ann:s3cret@a").unwrap_err(),
        Client::new("http://ann:s3cret@a:port").unwrap_err(),
    ];
    for error in errors {
        let sentence = error.to_string();
        assert!(!sentence.contains("s3cret"), "{sentence}");
    }
}

#[tokio::test]
async fn a_run_that_fails_while_dagster_counts_is_counted_too() {
    let asked = Arc::new(AtomicUsize::new(0));
    let webserver = serve(move |_| {
        let run = r#"{"runId": "r1", "jobName": "sales", "tags": []}"#;
        let failed =
            format!(r#""runsOrError": {{"__typename": "Runs", "count": 0, "results": [{run}]}}"#);
        let newest = r#""f0": {"__typename": "Runs", "results": []}"#.to_owned();
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        let answer = format!(r#"{{"data": {{{}}}}}"#, if first { failed } else { newest });
        ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
    })
    .await;
    let client = Client::new(&format!("http://{webserver}")).unwrap();
    let page = client
        .failed_runs(Timestamp::UNIX_EPOCH, None)
        .await
        .unwrap();
    assert_eq!((page.runs.len(), page.total), (1, 1));
}
