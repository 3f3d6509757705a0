//! The embedded broker against web pages: what a browser sends for a form, an image or a script of
//! another site is refused and does nothing; programs, and pages that were allowed, are served.

use crate::attacks;
use crate::http;
use crate::sdk;
use crate::server;

use std::process::Command;

use attacks::{ATTACKS, PAGE, PURGE, QUEUE, SEND};
use aws_sdk_sqs::Client;
use http::send_raw;
use sdk::{counts, make_queue, receive, send};
use server::{BINARY, Server};
use tempfile::TempDir;

const KEYS: [&str; 4] = ["--access-key", "team", "--secret-key", "s3cret"];

/// A broker whose queue `q` holds one message, and a client that is let in.
async fn broker(folder: &TempDir, more: &[&str]) -> (Server, Client, String) {
    let server = Server::start_on(folder.path(), "127.0.0.1:0", more);
    let client = server.client_with("team", "s3cret");
    let queue = make_queue(&client, "q").await;
    send(&client, &queue, "precious").await;
    (server, client, queue)
}

#[tokio::test]
async fn what_pages_of_other_sites_send_is_refused_and_does_nothing() {
    for keys in [&KEYS[..], &[]] {
        let folder = TempDir::new().unwrap();
        let (server, client, queue) = broker(&folder, keys).await;
        for attack in ATTACKS {
            let what = attack.what;
            let answer = attack.on(&server);
            assert_eq!(answer.status, 403, "{what}: {}", answer.body);
            let cors = answer.header("access-control-allow-origin");
            assert_eq!(cors, None, "{what}");
            assert_eq!(counts(&client, &queue).await, [1, 0, 0], "{what}");
        }
        assert_eq!(
            receive(&client, &queue, 0).await[0].body(),
            Some("precious")
        );
    }
}

#[tokio::test]
async fn a_refusal_has_the_form_of_the_protocol_that_was_spoken() {
    let folder = TempDir::new().unwrap();
    let (server, ..) = broker(&folder, &[]).await;
    let headers = ["Host: evil.example".to_owned()];
    let query = send_raw(server.address(), QUEUE, &headers, PURGE);
    assert!(
        query.body.contains("<Code>AccessDenied</Code>"),
        "{}",
        query.body
    );
    assert!(query.body.contains("--allow-host evil.example"));
    let json = ["Host: evil.example", "X-Amz-Target: AmazonSQS.ListQueues"].map(str::to_owned);
    let json = send_raw(server.address(), "POST /", &json, "{}");
    assert!(
        json.body
            .contains("com.amazon.coral.service#AccessDeniedException"),
        "{}",
        json.body
    );
    assert_eq!(
        json.header("x-amzn-query-error"),
        Some("AccessDenied;Sender")
    );
    assert!(json.header("x-amzn-requestid").is_some());
}

#[tokio::test]
async fn a_page_learns_nothing_of_the_queues() {
    let folder = TempDir::new().unwrap();
    let (server, ..) = broker(&folder, &[]).await;
    let here = format!("Host: {}", server.address());
    for path in [
        "/",
        "/_dtq/status",
        "/_dtq/peek?queue=q",
        "/_dtq/priorities?queue=q",
        "/?Action=ListQueues",
    ] {
        let line = format!("GET {path}");
        for page in [PAGE[0], PAGE[1], "Referer: https://evil.example/"] {
            let answer = send_raw(
                server.address(),
                &line,
                &[here.clone(), page.to_owned()],
                "",
            );
            assert_eq!(answer.status, 403, "{path} {page}");
            let body = answer.body;
            assert!(
                !body.contains("precious") && !body.contains("000000000000"),
                "{body}"
            );
        }
        let rebound = send_raw(
            server.address(),
            &line,
            &["Host: evil.example".to_owned()],
            "",
        );
        assert_eq!(rebound.status, 403, "{path}");
        let typed = [here.clone(), "Sec-Fetch-Site: none".to_owned()];
        assert_eq!(
            send_raw(server.address(), &line, &typed, "").status,
            200,
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_unsigned_get_reads_and_a_signed_one_does_everything() {
    let folder = TempDir::new().unwrap();
    let (server, client, queue) = broker(&folder, &[]).await;
    let here = format!("Host: {}", server.address());
    let get = |query: &str, more: &[&str]| {
        let more = more.iter().map(|&line| line.to_owned());
        let headers: Vec<String> = [here.clone()].into_iter().chain(more).collect();
        send_raw(
            server.address(),
            &format!("GET /000000000000/q?{query}"),
            &headers,
            "",
        )
    };
    let read = get("Action=GetQueueAttributes&AttributeName.1=All", &[]);
    assert!(
        read.status == 200 && read.body.contains("<Value>1</Value>"),
        "{}",
        read.body
    );
    let scope = "Authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/sqs/aws4_request";
    assert_eq!(get(SEND, &[scope]).status, 200);
    assert_eq!(counts(&client, &queue).await, [2, 0, 0]);
    let put = send_raw(
        server.address(),
        "PUT /000000000000/q",
        std::slice::from_ref(&here),
        SEND,
    );
    assert_eq!(put.status, 403);
    assert_eq!(counts(&client, &queue).await, [2, 0, 0]);
}

#[tokio::test]
async fn an_allowed_page_sends_and_reads_and_no_other_page_does() {
    let folder = TempDir::new().unwrap();
    let page = [
        "--allow-origin",
        "http://localhost:3000",
        "--allow-origin",
        "https://a.example",
    ];
    let (server, client, queue) = broker(&folder, &page).await;
    let ask = |line: &str, origin: &str, more: &[&str], body: &str| {
        let mut headers = vec![
            format!("Host: {}", server.address()),
            format!("Origin: {origin}"),
        ];
        headers.push("Sec-Fetch-Site: cross-site".to_owned());
        headers.extend(more.iter().map(|&line| line.to_owned()));
        send_raw(server.address(), line, &headers, body)
    };
    let question = [
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization,content-type,x-amz-target",
        "Access-Control-Request-Private-Network: true",
    ];
    for origin in ["http://localhost:3000", "https://a.example"] {
        let answer = ask("OPTIONS /", origin, &question, "");
        assert_eq!(answer.status, 204);
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET, HEAD, POST"),
            (
                "access-control-allow-headers",
                "authorization,content-type,x-amz-target",
            ),
            ("access-control-allow-private-network", "true"),
            ("vary", "origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        let sent = ask(QUEUE, origin, &[], SEND);
        assert_eq!(sent.status, 200);
        assert_eq!(sent.header("access-control-allow-origin"), Some(origin));
        let failed = ask("POST /000000000000/missing", origin, &[], SEND);
        assert_eq!(failed.status, 400);
        assert_eq!(failed.header("access-control-allow-origin"), Some(origin));
    }
    assert_eq!(counts(&client, &queue).await, [3, 0, 0]);
    for origin in ["http://localhost:3001", "https://b.example", "null"] {
        let answer = ask("OPTIONS /", origin, &question, "");
        assert_eq!(answer.status, 403);
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(ask(QUEUE, origin, &[], PURGE).status, 403);
    }
    assert_eq!(counts(&client, &queue).await, [3, 0, 0]);
}

#[tokio::test]
async fn an_allowed_page_still_signs_where_keys_are_set() {
    let folder = TempDir::new().unwrap();
    let flags = [&KEYS[..], &["--allow-origin", "https://a.example"]].concat();
    let (server, client, queue) = broker(&folder, &flags).await;
    let headers = [
        format!("Host: {}", server.address()),
        "Origin: https://a.example".to_owned(),
    ];
    let unsigned = send_raw(server.address(), QUEUE, &headers, PURGE);
    assert!(
        unsigned.body.contains("MissingAuthenticationToken"),
        "{}",
        unsigned.body
    );
    assert_eq!(counts(&client, &queue).await, [1, 0, 0]);
}

#[tokio::test]
async fn a_host_that_was_allowed_is_answered_under_its_own_name() {
    let folder = TempDir::new().unwrap();
    let (server, ..) = broker(&folder, &["--allow-host", "broker"]).await;
    let ask = |host: &str| {
        let line = "GET /?Action=GetQueueUrl&QueueName=q";
        send_raw(server.address(), line, &[format!("Host: {host}")], "")
    };
    let known = ask("Broker:9324");
    assert_eq!(known.status, 200);
    assert!(
        known.body.contains("http://Broker:9324/000000000000/q"),
        "{}",
        known.body
    );
    assert_eq!(ask("broker.evil.example").status, 403);
}

#[test]
fn a_host_that_was_not_allowed_is_named_with_the_flag_to_set() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    // Linux takes it for this machine.
    let endpoint = server.endpoint.replace("127.0.0.1", "0.0.0.0");
    let queue = format!("{endpoint}/000000000000/q");
    for command in [
        vec!["broker", "status", "--endpoint", &endpoint],
        vec!["queue", "list", "--queue-url", &queue],
    ] {
        let mut program = Command::new(BINARY);
        program.args(&command).envs([
            ("AWS_ACCESS_KEY_ID", "any"),
            ("AWS_SECRET_ACCESS_KEY", "any"),
        ]);
        let output = program.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("--allow-host 0.0.0.0"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_flag_that_would_let_everybody_in_is_refused() {
    for (flag, value) in [
        ("--allow-origin", "*"),
        ("--allow-origin", "null"),
        ("--allow-host", "*"),
        ("--allow-host", "broker:9324"),
    ] {
        let words = ["broker", "serve", "--data-dir", "/nowhere", flag, value];
        let output = Command::new(BINARY).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag} {value}");
    }
}
