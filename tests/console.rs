//! The whole console, driven by key strings, its screens compared.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "console/alarms.rs"]
mod alarms;
#[path = "console/clocks.rs"]
mod clocks;
#[path = "console/dead_letters.rs"]
mod dead_letters;
#[path = "console/fixture.rs"]
mod fixture;
#[path = "console/following.rs"]
mod following;
#[path = "console/harness.rs"]
mod harness;
#[path = "console/input.rs"]
mod input;
#[path = "console/keys.rs"]
mod keys;
#[path = "console/launching.rs"]
mod launching;
#[path = "console/navigation.rs"]
mod navigation;
#[path = "console/overlays.rs"]
mod overlays;
#[path = "console/pictures.rs"]
mod pictures;
#[path = "console/runs.rs"]
mod runs;
#[path = "console/screens.rs"]
mod screens;
#[path = "console/svg.rs"]
mod svg;
#[path = "console/tables.rs"]
mod tables;
#[path = "console/typing.rs"]
mod typing;
