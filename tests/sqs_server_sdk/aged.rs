//! Rules that take minutes, hours or days, over the wire, on folders of an earlier clock. Each rule's
//! very moment is checked with a clock of the tests' own, in `sqs_server/limits.rs` and
//! `sqs_server/rules.rs`.

use crate::earlier;
use crate::sqs::{LONG, Sqs, bodies, on, refused, wait_for};

pub async fn url_of(sqs: &Sqs, name: &str) -> String {
    let found = sqs.client.get_queue_url().queue_name(name).send().await;
    found.unwrap().queue_url.unwrap()
}

async fn counted(sqs: &Sqs, url: &str, counts: [i64; 3]) {
    wait_for("the time is over", async || sqs.counts(url).await == counts).await;
}

#[tokio::test]
async fn a_message_is_dropped_when_its_retention_is_over() {
    let sqs = on(earlier::folder(&[earlier::sent]));
    for (name, left) in [("long", "5"), ("short", "3")] {
        let url = url_of(&sqs, name).await;
        counted(&sqs, &url, [1, 0, 0]).await;
        assert_eq!(bodies(&sqs.receive(&url).await), [left]);
    }
}

#[tokio::test]
async fn a_deduplication_id_may_be_used_again_after_five_minutes() {
    let sqs = on(earlier::folder(&[earlier::deduplicated]));
    let url = url_of(&sqs, "ids.fifo").await;
    for id in ["1", "2"] {
        let call = sqs.send(&url, "again").message_group_id("g");
        call.message_deduplication_id(id).send().await.unwrap();
    }
    assert_eq!(bodies(&sqs.receive(&url).await), ["1", "2", "again"]);
}

#[tokio::test]
async fn a_queue_may_be_purged_again_after_60_seconds() {
    let sqs = on(earlier::folder(&[earlier::purged]));
    let purge = async |name: &str| {
        let call = sqs.client.purge_queue();
        call.queue_url(url_of(&sqs, name).await).send().await
    };
    purge("purged-before").await.unwrap();
    let code = format!("{LONG}PurgeQueueInProgress");
    refused(purge("purged-now").await, &code, "60 seconds");
}

#[tokio::test]
async fn delays_and_visibility_timeouts_end_after_15_minutes_and_12_hours() {
    let sqs = on(earlier::folder(&[earlier::hidden]));
    let url = url_of(&sqs, "hidden").await;
    counted(&sqs, &url, [2, 1, 1]).await;
    assert_eq!(bodies(&sqs.receive(&url).await), ["1", "3"]);
}
