//! The binary's command line, the demo, and what the repository says of itself.

mod demo;
mod doctor;
mod environment;
mod errors;
mod guard;
mod layers;
mod readme;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
