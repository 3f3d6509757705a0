//! The state machine without disk and network, under a clock of the test's own.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::collections::BTreeMap;

use dagster_taskiq_tui::sqs_server::error::SqsError;
use dagster_taskiq_tui::sqs_server::receipt::Receipt;
use dagster_taskiq_tui::sqs_server::state::Broker;
use dagster_taskiq_tui::sqs_server::state::message::{NewMessage, Received};
use dagster_taskiq_tui::sqs_server::state::receiving::ReceiveRequest;
use uuid::Uuid;

pub const START: i64 = 1_000_000_000;
pub const MINUTE: i64 = 60_000;
pub const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:";

pub fn broker(queues: &[(&str, &[(&str, &str)])]) -> Broker {
    let mut broker = Broker::default();
    for (name, attributes) in queues {
        let mut given: BTreeMap<_, _> = attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        if name.rsplit('.').next() == Some("fifo") {
            given.insert("FifoQueue".to_owned(), "true".to_owned());
        }
        broker
            .create_queue(START, name, given, BTreeMap::new())
            .unwrap();
    }
    broker
}

pub fn message(id: u128) -> NewMessage {
    NewMessage {
        message_id: Uuid::from_u128(id),
        body: id.to_string(),
        body_md5: String::new(),
        size: 1,
        delay: None,
        attributes: Vec::new(),
        trace: None,
        group: None,
        dedup: None,
        priority: 5,
    }
}

pub fn in_group(id: u128, group: &str) -> NewMessage {
    NewMessage {
        group: Some(group.to_owned()),
        dedup: Some(id.to_string()),
        ..message(id)
    }
}

pub fn ask(max: usize, visibility: i64) -> ReceiveRequest {
    ReceiveRequest {
        max,
        visibility: Some(visibility),
        attempt: None,
        duplicate: false,
    }
}

pub fn receipt(one: &Received) -> Receipt {
    Receipt {
        store: one.store,
        seq: one.seq,
        receive: one.message.receive_count,
    }
}

pub fn counts(broker: &Broker, name: &str) -> [usize; 3] {
    let counts = broker.queue(name).unwrap().counts();
    [counts.waiting, counts.in_flight, counts.delayed]
}

pub fn code(refused: Result<impl Sized, SqsError>) -> &'static str {
    refused
        .err()
        .map_or("no error", |error| error.kind.query_code())
}
