//! The two protocols SQS speaks, on top of the same actions: AWS JSON 1.0, and the older query
//! protocol whose requests and answers are translated to and from JSON.

pub mod json;
pub mod query;
pub mod sigv4;
