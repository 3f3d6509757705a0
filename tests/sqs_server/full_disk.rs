//! The embedded broker on a disk that takes no more: what is asked for is refused, nothing that was
//! answered is lost, and it goes on as soon as there is room.

use crate::sdk;
use crate::server;
use crate::small_disk;
use crate::support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sdk::{counts, make_queue, receive, send, send_ten, take_all, wait_for};
use server::Server;
use small_disk::SmallDisk;
use support::say_not_run;
use tempfile::TempDir;

/// What was sent and answered.
#[derive(Default)]
struct Sent {
    acknowledged: BTreeSet<String>,
    number: usize,
}

impl Sent {
    /// Sends so many batches, or until five were refused; how many were refused.
    async fn send(&mut self, batches: usize, client: &Client, queue: &str) -> usize {
        let mut refused = 0;
        for _ in 0..batches {
            let bodies: Vec<_> = (0..10)
                .map(|n| format!("{:04096}", self.number + n))
                .collect();
            self.number += 10;
            match send_ten(client, queue, bodies.iter().cloned()).await {
                Ok(()) => self.acknowledged.extend(bodies),
                Err(error) => {
                    assert_eq!(error.meta().code(), Some("ServiceUnavailable"), "{error:?}");
                    let text = error.meta().message().unwrap();
                    assert!(text.contains("could not write"), "{text}");
                    refused += 1;
                }
            }
            if refused == 5 {
                break;
            }
        }
        let kept = i64::try_from(self.acknowledged.len()).unwrap();
        assert_eq!(counts(client, queue).await, [kept, 0, 0]);
        refused
    }

    /// Everything that was answered is there, once, and nothing else.
    async fn check_all_there(&self, client: &Client, queue: &str) {
        let found = take_all(client, queue).await;
        assert_eq!(found.len(), self.acknowledged.len());
        assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            self.acknowledged
        );
    }
}

/// A queue and its dead-letter queue, and a message that is to be moved when its visibility timeout
/// of two seconds is over.
async fn poisoned(client: &Client) -> (String, String) {
    let dead = make_queue(client, "dead").await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:0:dead","maxReceiveCount":1}"#;
    let call = client.create_queue().queue_name("poisoned");
    let call = call
        .attributes(QueueAttributeName::RedrivePolicy, policy)
        .attributes(QueueAttributeName::VisibilityTimeout, "2");
    let queue = call.send().await.unwrap().queue_url.unwrap();
    send(client, &queue, "poison").await;
    assert_eq!(receive(client, &queue, 0).await.len(), 1);
    (queue, dead)
}

/// It said once that it cannot write, for each time that it could not, and that it can again.
fn check_said(errors: &str, failures: usize) {
    let said = |words| errors.matches(words).count();
    assert_eq!(
        said("cannot write to its data folder"),
        failures,
        "{errors}"
    );
    assert_eq!(said("can write to its data folder again"), 1, "{errors}");
}

#[tokio::test]
async fn files_that_may_not_grow_are_answered_with_errors_and_lose_nothing() {
    let folder = TempDir::new().unwrap();
    // By default the system would end a process that writes beyond the limit.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    let server = Server::start_through(shell, folder.path());
    let client = server.client_without_retries();
    let queue = make_queue(&client, "q").await;
    let pid = Pid::from_raw(server.pid().cast_signed());
    let mut sent = Sent::default();
    for room in [Some(300 << 10), None, Some(900 << 10)] {
        let limit = Rlimit {
            current: room,
            maximum: None,
        };
        prlimit(pid, Resource::Fsize, limit).unwrap();
        let refused = sent.send(100, &client, &queue).await;
        assert_eq!(refused > 0, room.is_some(), "{refused} with {room:?} bytes");
    }
    check_said(&server.errors(), 2);
    let server = Server::start(folder.path());
    sent.check_all_there(&server.client(), &queue).await;
}

#[tokio::test]
async fn a_full_disk_is_answered_with_errors_loses_nothing_and_goes_on_when_there_is_room() {
    let disk = match SmallDisk::mount("34m") {
        Ok(disk) => disk,
        Err(why) => return say_not_run(&format!("the broker on a full disk: {why}")),
    };
    let ballast = [("first", "4M"), ("second", "20M")].map(|(name, size)| {
        let file = disk.folder().join(name);
        disk.run(
            "fallocate",
            &["--length".as_ref(), size.as_ref(), file.as_ref()],
        );
        file
    });
    let data = disk.folder().join("data");
    let server = Server::start_through(disk.enter(), &data);
    let client = server.client_without_retries();
    let queue = make_queue(&client, "q").await;
    let mut sent = Sent::default();
    let (poisoned, dead) = poisoned(&client).await;
    while sent.send(100, &client, &queue).await == 0 {}
    // Meanwhile its visibility timeout ends. Whether there is room to move it or not: what only reads
    // is answered.
    for _ in 0..15 {
        counts(&client, &poisoned).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    disk.run("rm", &[ballast[0].as_ref()]);
    wait_for("it is moved as soon as there is room", async || {
        counts(&client, &dead).await == [1, 0, 0]
    })
    .await;
    assert_eq!(
        sent.send(30, &client, &queue).await,
        0,
        "there is room again"
    );
    while sent.send(100, &client, &queue).await == 0 {}
    check_said(&server.errors(), 2);

    disk.run("rm", &[ballast[1].as_ref()]);
    let server = Server::start_through(disk.enter(), &data);
    sent.check_all_there(&server.client(), &queue).await;
}
