//! The embedded broker: its rules on a clock of the tests' own, its journal, the real binary over HTTP
//! through several clients, its command line. What each SQS action promises is in
//! `sqs_server_sdk`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod attacks;
mod boto3;
mod browsers;
mod certificate;
mod cli;
mod clients;
mod clock;
mod crashes;
mod decoders;
mod decoding;
mod earlier;
mod flows;
mod full_disk;
mod group_clients;
mod group_ledger;
mod http;
mod journal;
mod ledger;
mod limits;
mod other_clients;
mod properties;
mod rules;
mod sdk;
mod server;
mod small_disk;
mod storage;
#[path = "../support/mod.rs"]
mod support;
