//! Consoles and workers over real sockets and a real sshd.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod aggregator;
mod attach;
mod worker;
