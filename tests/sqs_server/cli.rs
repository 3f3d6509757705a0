//! `broker serve`, `broker status` and `broker stop`: what they print, refuse and warn of, and who may speak to the
//! broker.

use crate::sdk;
use crate::server;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use sdk::{counts, make_queue, receive, send};
use server::{BINARY, Server, serve_in_vain, serve_in_vain_with};
use tempfile::TempDir;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn status(endpoint: &str) -> Output {
    on_running("status", endpoint)
}

fn on_running(verb: &str, endpoint: &str) -> Output {
    Command::new(BINARY)
        .args(["broker", verb, "--endpoint", endpoint])
        .output()
        .unwrap()
}

#[test]
fn a_broker_that_was_told_to_stop_is_gone_and_keeps_its_queues() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let endpoint = server.endpoint.clone();
    let queues = tokio::runtime::Runtime::new().unwrap();
    queues.block_on(async {
        make_queue(&server.client(), "kept").await;
    });
    let stopped = on_running("stop", &endpoint);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert!(text(&stopped.stdout).contains("has ended"));
    let again = on_running("stop", &endpoint);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("no broker answers"));
    drop(server);
    let server = Server::start(folder.path());
    assert!(text(&status(&server.endpoint).stdout).contains("kept"));
}

#[test]
fn a_broker_behind_a_tunnel_is_not_stopped_by_its_process_id() {
    // What it answers names this very process, which serves no queues.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).unwrap();
        let body = format!(
            r#"{{"server":"dagster-taskiq-tui","version":"0","pid":{},"disk_bytes":0,"queues":{{}}}}"#,
            std::process::id()
        );
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    });
    let refused = on_running("stop", &endpoint);
    answers.join().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let text = text(&refused.stderr);
    assert!(text.contains("another host or in a container"), "{text}");
}

#[test]
fn what_keeps_it_from_starting_is_said_in_a_sentence() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let server = Server::start(&folder.path().join("used"));
    let refusals = [
        (
            serve_in_vain(&folder.path().join("a"), &address),
            "--listen",
        ),
        (
            serve_in_vain(&folder.path().join("used"), "127.0.0.1:0"),
            "another broker process",
        ),
        (
            serve_in_vain(std::path::Path::new("/proc/dtq"), "127.0.0.1:0"),
            "--data-dir",
        ),
    ];
    drop(server);
    for (output, hint) in refusals {
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(hint), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let usage = Command::new(BINARY)
        .args(["broker", "serve", "--listen", "x"])
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn a_shell_that_reads_the_printed_exports_can_use_the_broker() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder.path().join("data"));
    assert_eq!(server.exports.len(), 3);
    let shell = |command: &str| {
        let script = format!("{}; exec {BINARY} {command}", server.exports.join("; "));
        let output = Command::new("sh")
            .args(["-c", &script])
            .env_clear()
            .env("HOME", folder.path())
            .output()
            .unwrap();
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{errors}");
        text(&output.stdout)
    };
    shell("queue create");
    assert!(shell("queue list").contains("dagster-tasks"));
}

#[test]
fn an_address_others_can_reach_is_warned_of_unless_keys_are_set() {
    let folder = TempDir::new().unwrap();
    // An address of nobody's (RFC 5737), so that the warning is seen and nothing ever listens.
    let elsewhere = "192.0.2.1:0";
    let open = text(&serve_in_vain(folder.path(), elsewhere).stderr);
    assert!(
        open.starts_with("warning: 192.0.2.1:0 is not a loopback address"),
        "{open}"
    );
    assert!(
        open.contains("no authentication") && open.contains("--access-key"),
        "{open}"
    );
    let keys = ["--access-key", "team", "--secret-key", "s3cret"];
    let closed = text(&serve_in_vain_with(folder.path(), elsewhere, &keys).stderr);
    assert!(!closed.contains("is not a loopback address"), "{closed}");
    assert!(closed.contains("--secret-key-file"), "{closed}");
    let here = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = here.local_addr().unwrap().to_string();
    let local = text(&serve_in_vain(folder.path(), &taken).stderr);
    assert!(!local.contains("warning"), "{local}");
}

#[test]
fn one_key_alone_is_refused() {
    let folder = TempDir::new().unwrap();
    for (one, other) in [
        (["--access-key", "team"], "--secret-key-file"),
        (["--secret-key", "s3cret"], "--access-key"),
        (
            ["--secret-key-file", "/dev/null"],
            "/dev/null holds no secret key",
        ),
        (
            ["--secret-key-file", "/nowhere"],
            "cannot read the secret key from /nowhere",
        ),
    ] {
        let output = serve_in_vain_with(folder.path(), "127.0.0.1:0", &one);
        assert_eq!(output.status.code(), Some(1));
        let errors = text(&output.stderr);
        assert!(errors.contains(other), "{errors}");
        assert!(!errors.contains("s3cret"), "{errors}");
    }
}

#[tokio::test]
async fn status_shows_queues_their_counts_and_disk_use() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let client = server.client();
    let queue = make_queue(&client, "tasks").await;
    for body in ["1", "2", "3"] {
        send(&client, &queue, body).await;
    }
    let call = client.send_message().queue_url(&queue).message_body("4");
    call.delay_seconds(900).send().await.unwrap();
    let held = client.receive_message().queue_url(&queue).send().await;
    assert_eq!(held.unwrap().messages().len(), 1);
    make_queue(&client, "other").await;

    let output = status(&server.endpoint);
    assert!(output.status.success());
    let shown = text(&output.stdout);
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][0], "broker");
    assert!(
        rows[0].contains(&format!("{}),", server.pid()).as_str()),
        "{shown}"
    );
    let on_disk: u64 = rows[0][rows[0].len() - 4].parse().unwrap();
    assert!(on_disk > 0 && shown.contains("KiB on disk"), "{shown}");
    assert_eq!(rows[1], ["queue", "waiting", "in", "flight", "delayed"]);
    assert_eq!(rows[2], ["other", "0", "0", "0"]);
    assert_eq!(rows[3], ["tasks", "2", "1", "1"]);
    assert_eq!(receive(&client, &queue, 0).await.len(), 2);
}

#[test]
fn status_says_when_nobody_or_somebody_else_answers() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let endpoint = server.endpoint.clone();
    drop(server);
    let refused = status(&endpoint);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("no broker answers"));

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", other.local_addr().unwrap());
    let stranger = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut connection, _) = other.accept().unwrap();
        let _ = connection.read(&mut [0; 4_096]).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        connection.write_all(answer.as_bytes()).unwrap();
    });
    let refused = status(&endpoint);
    stranger.join().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("is not this program's broker"));
}

#[tokio::test]
async fn keys_may_come_from_the_environment_which_other_users_cannot_read() {
    let folder = TempDir::new().unwrap();
    let mut env = Command::new("env");
    env.args([
        "DAGSTER_TASKIQ_BROKER_ACCESS_KEY=team",
        "DAGSTER_TASKIQ_BROKER_SECRET_KEY=s3cret",
    ]);
    let server = Server::start_through(env, folder.path());
    make_queue(&server.client_with("team", "s3cret"), "q").await;
    let other = server.client_with("team", "guess").list_queues().send();
    assert!(other.await.is_err());
}

#[tokio::test]
async fn with_keys_only_requests_signed_with_them_are_answered() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cret\n").unwrap();
    let file = file.to_str().unwrap();
    let keys = ["--access-key", "team", "--secret-key-file", file];
    let server = Server::start_on(folder.path(), "127.0.0.1:0", &keys);
    let good = server.client_with("team", "s3cret");
    let queue = make_queue(&good, "q").await;
    send(&good, &queue, "signed").await;
    for (key, secret, code) in [
        ("team", "guess", "SignatureDoesNotMatch"),
        ("other", "s3cret", "InvalidClientTokenId"),
    ] {
        let client = server.client_with(key, secret);
        let error = client
            .list_queues()
            .send()
            .await
            .unwrap_err()
            .into_service_error();
        assert_eq!(error.meta().code(), Some(code));
    }
    let unsigned = reqwest::Client::new()
        .post(&server.endpoint)
        .body("Action=ListQueues");
    let answer = unsigned.send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("MissingAuthenticationToken")
    );
    assert_eq!(counts(&good, &queue).await, [1, 0, 0]);
}
