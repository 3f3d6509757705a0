//! Warm Python processes without a queue: what is in Dagster's event log afterwards.

mod deaths;
mod support;
mod tasks;
