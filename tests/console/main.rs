//! The whole console, driven by key strings, its screens compared.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod alarms;
mod alone;
mod clocks;
mod contexts;
mod dead_letters;
mod explaining;
mod failures;
mod finding;
mod fixture;
mod following;
mod harness;
mod input;
mod judged;
mod keys;
mod launching;
mod links;
mod navigation;
mod night;
mod overlays;
mod parts;
mod pausing;
mod pictures;
mod plugins;
mod pty;
mod reasons;
mod restarts;
mod runs;
mod screens;
mod stuck;
#[path = "../support/mod.rs"]
mod support;
mod svg;
mod tables;
mod tmux;
mod tracebacks;
mod typing;
mod words;
