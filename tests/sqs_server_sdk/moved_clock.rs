//! The clock that can be moved over the wire: hours pass in one request.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName as Name;
use tempfile::TempDir;

use crate::http::{Answer, send_raw};
use crate::server::Server;
use crate::sqs::{on, receives};

const HALF_A_DAY: u32 = 43_200;

pub fn advance(address: &str, seconds: u32) -> Answer {
    let host = [format!("Host: {address}")];
    let body = format!("{{\"advance_seconds\": {seconds}}}");
    send_raw(address, "POST /_dtq/clock", &host, &body)
}

#[tokio::test]
async fn everything_that_takes_time_follows_the_moved_clock() {
    let sqs = on(TempDir::new().unwrap());
    let address = sqs.server.address().to_owned();

    let delayed = sqs.queue(&[(Name::DelaySeconds, "900")]).await;
    sqs.put(&delayed, "x").await;
    assert!(sqs.receive(&delayed).await.is_empty());
    assert_eq!(advance(&address, 901).status, 200);
    assert_eq!(sqs.receive(&delayed).await.len(), 1);

    let held = sqs.queue(&[(Name::VisibilityTimeout, "43200")]).await;
    sqs.put(&held, "x").await;
    let first = sqs.receive(&held).await.remove(0);
    assert!(sqs.receive(&held).await.is_empty());
    let answer = advance(&address, HALF_A_DAY);
    let told = format!("{{\"ahead_seconds\":{}}}", 901 + HALF_A_DAY);
    assert_eq!(answer.body, told);
    // Twelve hours after its receive it is over: a late change is answered, and changes nothing.
    sqs.hide(&held, &first, 60).await.unwrap();
    assert_eq!(receives(&sqs.take(&held).await), 2);

    let kept = sqs.queue(&[(Name::MessageRetentionPeriod, "86400")]).await;
    sqs.put(&kept, "x").await;
    advance(&address, 86_401);
    assert!(sqs.receive(&kept).await.is_empty());

    let ordered = sqs.fifo(&[]).await;
    for expected in [1, 0] {
        let send = sqs.client.send_message().queue_url(&ordered);
        let send = send.message_body("x").message_group_id("g");
        send.send().await.unwrap();
        let found = sqs.receive(&ordered).await;
        assert_eq!(found.len(), expected);
        for message in found {
            sqs.delete(&ordered, &message).await.unwrap();
        }
    }
    advance(&address, 301);
    let send = sqs.client.send_message().queue_url(&ordered);
    let send = send.message_body("x").message_group_id("g");
    send.send().await.unwrap();
    assert_eq!(
        sqs.receive(&ordered).await.len(),
        1,
        "no duplicate any more"
    );

    let purge = || sqs.client.purge_queue().queue_url(&kept).send();
    purge().await.unwrap();
    assert!(purge().await.is_err(), "one a minute");
    advance(&address, 61);
    purge().await.unwrap();
}

#[tokio::test]
async fn an_open_long_poll_ends_or_gets_its_message_when_the_clock_is_moved() {
    let sqs = on(TempDir::new().unwrap());
    let address = sqs.server.address().to_owned();
    let (empty, delayed) = (
        sqs.queue(&[]).await,
        sqs.queue(&[(Name::DelaySeconds, "600")]).await,
    );
    sqs.put(&delayed, "x").await;
    let began = Instant::now();
    let poll = |url| sqs.receive_with(url, |call| call.wait_time_seconds(20));
    let moving = async {
        // Both are open by then; if not, they only wait for as long as they asked.
        tokio::time::sleep(Duration::from_millis(300)).await;
        advance(&address, 600)
    };
    let (nothing, message, moved) = tokio::join!(poll(&empty), poll(&delayed), moving);
    assert_eq!((nothing.len(), message.len(), moved.status), (0, 1, 200));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn the_clock_stays_ahead_over_a_restart_and_never_goes_back() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let sqs = server.client();
    let url = sqs.create_queue().queue_name("q").send().await.unwrap();
    let url = url.queue_url.unwrap();
    advance(server.address(), HALF_A_DAY);
    let send = sqs.send_message().queue_url(&url).message_body("x");
    send.delay_seconds(900).send().await.unwrap();
    let server = server.crash_and_restart(folder.path());
    advance(server.address(), 900);
    let found = server.client().receive_message().queue_url(&url);
    let found = found.send().await.unwrap().messages.unwrap_or_default();
    assert_eq!(found.len(), 1, "it would be hidden for another half a day");

    let host = [format!("Host: {}", server.address())];
    let post = |body| send_raw(server.address(), "POST /_dtq/clock", &host, body).status;
    for body in [
        "{\"advance_seconds\": -1}",
        "{\"advance_seconds\": 0}",
        "",
        "[]",
    ] {
        assert_eq!(post(body), 400, "{body}");
    }
    let get = send_raw(server.address(), "GET /_dtq/clock", &host, "");
    assert_eq!(get.status, 404);
}

#[tokio::test]
async fn a_broker_with_keys_moves_its_clock_only_for_signed_requests() {
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "test\n").unwrap();
    let keys = ["--access-key", "test", "--secret-key-file"];
    let keys = [&keys[..], &[secret.to_str().unwrap()]].concat();
    let server = Server::start_on(&folder.path().join("data"), "127.0.0.1:0", &keys);
    let refused = advance(server.address(), 60);
    assert!(
        refused.status == 403 || refused.status == 401,
        "{}",
        refused.status
    );
}
