//! The embedded Python packages and the managed Python environment.

pub mod managed;
pub mod packages;
