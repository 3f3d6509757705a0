//! What crosses SQS: Taskiq messages, labels, results.
