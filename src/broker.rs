//! The SQS client: queue set, receive, send, acknowledge, lease extension.
