//! The embedded, durable SQS-compatible server.
