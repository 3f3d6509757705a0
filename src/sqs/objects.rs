//! S3: message bodies that were too large for SQS, and the results that senders of Python's
//! `dagster-taskiq` wait for, both in the form of taskiq-aio-sqs.
//!
//! Fetched objects are not deleted: the life-cycle rules of the sender own them, and a message that
//! is delivered again needs its object again.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential};
use object_store::path::Path;
use object_store::{ClientOptions, CredentialProvider, ObjectStoreExt, RetryConfig};
use serde::Deserialize;

use super::delivery::Delivery;
use super::error::{BrokerError, shown};
use crate::config::Settings;
use crate::telemetry::metrics::metrics;

/// Maximum size of a fetched body, in bytes: the limit of a frame to a Python host, less room for
/// the rest.
const MAX_BODY: u64 = 15 * 1024 * 1024;

/// Timeouts for connecting, for a request, and for a request with its retries.
const CONNECT: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(30);
const WITH_RETRIES: Duration = Duration::from_secs(20);

/// Maximum number of buckets whose clients are kept: with no bucket configured, a message may name
/// any.
const KEPT_BUCKETS: usize = 16;

/// The SQS body of an offloaded message.
#[derive(Deserialize)]
struct Pointer {
    s3_bucket: String,
    s3_key: String,
}

impl Pointer {
    /// Parses a body. The result becomes part of a URL, and the request to it is signed, so only a
    /// valid bucket and key are accepted. `only` is the one bucket that may be read, if configured.
    fn read(body: &str, only: Option<&str>) -> Result<Self, String> {
        let pointer: Self = serde_json::from_str(body).map_err(|error| {
            let place = error.column();
            format!("it does not name its object in S3 (column {place} of its pointer)")
        })?;
        let Self { s3_bucket, s3_key } = &pointer;
        if !is_bucket(s3_bucket) {
            return Err("what it names as its bucket is not the name of one".to_owned());
        }
        if s3_key.is_empty() || s3_key.len() > 1024 || s3_key.contains(char::is_control) {
            return Err("what it names as its key is not the name of an object".to_owned());
        }
        match only {
            Some(only) if only != s3_bucket => Err(format!(
                "it lies in the bucket {s3_bucket}, and this worker reads from {only} alone \
                 (s3_bucket_name)"
            )),
            _ => Ok(pointer),
        }
    }
}

/// Checks a bucket name by the rules of S3, as far as they matter in a URL.
fn is_bucket(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (3..=63).contains(&name.len())
        && name.chars().all(is_plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.contains("..")
}

/// The buckets of a worker. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Option<String>,
    region: String,
    results: Option<String>,
    credentials: Option<SharedCredentialsProvider>,
    buckets: Mutex<HashMap<String, Arc<AmazonS3>>>,
}

impl Objects {
    pub fn new(settings: &Settings, credentials: Option<SharedCredentialsProvider>) -> Self {
        let shared = Shared {
            endpoint: settings.s3_endpoint_url.value.clone(),
            region: settings.region_name.value.clone(),
            results: settings.s3_bucket_name.value.clone(),
            credentials,
            buckets: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The bucket for results, if one is configured.
    pub fn results(&self) -> Option<&str> {
        self.shared.results.as_deref()
    }

    /// Fetches the body of an offloaded message.
    pub async fn fetch(&self, delivery: &Delivery) -> Result<String, BrokerError> {
        let gone = |reason: String| BrokerError::Offloaded {
            message_id: delivery.message_id.clone(),
            reason,
        };
        let pointer = Pointer::read(&delivery.body, self.results()).map_err(&gone)?;
        let name = format!("s3://{}/{}", pointer.s3_bucket, pointer.s3_key);
        let failed = |error: object_store::Error| match error {
            object_store::Error::NotFound { .. } => gone(format!("{name} does not exist")),
            error => self.error_with(format!("fetch {name}"), &error, hint(&error)),
        };
        let found = self
            .bucket(&pointer.s3_bucket)?
            .get(&Path::from(pointer.s3_key.as_str()))
            .await
            .map_err(failed)?;
        if found.meta.size > MAX_BODY {
            let size = found.meta.size;
            return Err(gone(format!(
                "{name} has {size} bytes, more than {MAX_BODY}"
            )));
        }
        let bytes = found.bytes().await.map_err(failed)?;
        String::from_utf8(bytes.into()).map_err(|_| gone(format!("{name} is not UTF-8 text")))
    }

    /// Stores a result where the sender of a task looks for it.
    pub async fn put_result(
        &self,
        bucket: &str,
        task_id: &str,
        result: String,
    ) -> Result<(), BrokerError> {
        let attempt = format!("put a result to s3://{bucket}/{task_id}");
        self.bucket(bucket)?
            .put(&Path::from(task_id), result.into())
            .await
            .map(drop)
            .map_err(|error| self.error(attempt, &error))
    }

    /// Requests a missing object.
    pub async fn probe(&self, bucket: &str) -> Result<BucketAccess, BrokerError> {
        let path = Path::from("dagster-taskiq-tui/doctor");
        match self.bucket(bucket)?.head(&path).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(BucketAccess::Readable),
            Err(object_store::Error::PermissionDenied { .. }) => Ok(BucketAccess::Unclear),
            Err(error) => Err(self.error(format!("read the bucket {bucket}"), &error)),
        }
    }

    fn bucket(&self, name: &str) -> Result<Arc<AmazonS3>, BrokerError> {
        // Every statement leaves the map consistent.
        let mut buckets = self
            .shared
            .buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(name) {
            return Ok(Arc::clone(bucket));
        }
        let bucket = self
            .build(name)
            .map_err(|error| self.error(format!("use the bucket {name}"), &error))?;
        let bucket = Arc::new(bucket);
        if buckets.len() >= KEPT_BUCKETS {
            buckets.clear();
        }
        buckets.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }

    fn build(&self, name: &str) -> object_store::Result<AmazonS3> {
        let options = ClientOptions::new()
            .with_connect_timeout(CONNECT)
            .with_timeout(REQUEST)
            .with_allow_http(self.shared.endpoint.is_some());
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_region(&self.shared.region)
            .with_client_options(options)
            .with_retry(RetryConfig {
                max_retries: 3,
                retry_timeout: WITH_RETRIES,
                ..RetryConfig::default()
            });
        if let Some(endpoint) = &self.shared.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(credentials) = &self.shared.credentials {
            builder = builder.with_credentials(Arc::new(SdkCredentials(credentials.clone())));
        }
        builder.build()
    }

    fn error(&self, attempt: String, error: &object_store::Error) -> BrokerError {
        self.error_with(attempt, error, "")
    }

    fn error_with(&self, attempt: String, error: &object_store::Error, hint: &str) -> BrokerError {
        let aws = || format!("s3.{}.amazonaws.com", self.shared.region);
        metrics().broker_failed("store");
        BrokerError::Store {
            attempt,
            endpoint: self.shared.endpoint.as_deref().map_or_else(aws, shown),
            reason: one_line(&shown(&error.to_string())) + hint,
        }
    }
}

/// Answer of S3 to a request for a missing object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketAccess {
    /// It says that the object is missing: the bucket can be read.
    Readable,
    /// It denies the request. AWS does that if the credentials lack `s3:ListBucket`, and also if they
    /// may read nothing.
    Unclear,
}

/// Another possible meaning of a denied request.
fn hint(error: &object_store::Error) -> &'static str {
    match error {
        object_store::Error::PermissionDenied { .. } => {
            "; without s3:ListBucket on the bucket S3 denies an object that does not exist, too"
        }
        _ => "",
    }
}

/// The first line, which contains the message; the rest is the server's XML.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

/// Credentials of the AWS SDK, so that S3 uses the same ones as SQS (profiles and roles included).
#[derive(Debug)]
struct SdkCredentials(SharedCredentialsProvider);

impl CredentialProvider for SdkCredentials {
    type Credential = AwsCredential;

    fn get_credential<'provider, 'answer>(
        &'provider self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'answer>>
    where
        'provider: 'answer,
        Self: 'answer,
    {
        Box::pin(async {
            let found = self.0.provide_credentials().await.map_err(|error| {
                object_store::Error::Generic {
                    store: "S3",
                    source: Box::new(error),
                }
            })?;
            Ok(Arc::new(AwsCredential {
                key_id: found.access_key_id().to_owned(),
                secret_key: found.secret_access_key().to_owned(),
                token: found.session_token().map(str::to_owned),
            }))
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use aws_credential_types::Credentials;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::queue_set::Queue;
    use super::*;
    use crate::domain::QueueRole;

    /// Serves S3 that answers every request with this status; a client of it.
    async fn answering(status: &'static str) -> Objects {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let mut settings = Settings::merge(&[], true).unwrap();
        settings.s3_endpoint_url.value = Some(endpoint);
        let credentials = Credentials::new("test", "test", None, None, "test");
        Objects::new(&settings, Some(SharedCredentialsProvider::new(credentials)))
    }

    #[tokio::test]
    async fn s3_that_denies_a_missing_object_has_not_said_that_it_is_missing() {
        let missing = answering("404 Not Found").await.probe("large").await;
        assert_eq!(missing.unwrap(), BucketAccess::Readable);
        let denied = answering("403 Forbidden").await.probe("large").await;
        assert_eq!(denied.unwrap(), BucketAccess::Unclear);
        let failed = answering("400 Bad Request").await.probe("large").await;
        assert!(
            matches!(failed, Err(BrokerError::Store { .. })),
            "{failed:?}"
        );
    }

    #[tokio::test]
    async fn a_body_that_s3_denies_is_tried_again_and_the_missing_permission_is_named() {
        let queue = Queue::new("http://h/1/tasks".to_owned(), QueueRole::Base, 1);
        let message = aws_sdk_sqs::types::Message::builder()
            .body(r#"{"s3_bucket": "large", "s3_key": "body.json"}"#)
            .build();
        let delivery = Delivery::new(&Arc::new(queue), message);
        let denied = answering("403 Forbidden").await.fetch(&delivery).await;
        let denied = denied.unwrap_err();
        assert!(denied.is_passing(), "{denied}");
        assert!(denied.to_string().contains("s3:ListBucket"), "{denied}");
        let gone = answering("404 Not Found").await.fetch(&delivery).await;
        let gone = gone.unwrap_err();
        assert!(!gone.is_passing(), "{gone}");
        assert!(gone.to_string().contains("does not exist"), "{gone}");
    }

    fn read(bucket: &str, key: &str, only: Option<&str>) -> Result<Pointer, String> {
        let body = serde_json::json!({"s3_bucket": bucket, "s3_key": key}).to_string();
        Pointer::read(&body, only)
    }

    #[test]
    fn a_pointer_names_a_bucket_and_a_key_and_no_other_host() {
        assert!(read("tasks.example-1", "a/b c.json", None).is_ok());
        for bucket in [
            "",
            "evil.example/x#",
            "a@b.c",
            "..",
            "a..b",
            "x\ny",
            "a:80",
            "a?b",
        ] {
            assert!(read(bucket, "key", None).is_err(), "{bucket:?}");
        }
        for key in ["", "a\0b", &"k".repeat(1025)] {
            assert!(read("bucket", key, None).is_err(), "{key:?}");
        }
    }

    #[test]
    fn with_a_bucket_configured_no_other_one_is_read() {
        assert!(read("ours", "key", Some("ours")).is_ok());
        let refused = read("theirs", "key", Some("ours")).err().unwrap();
        assert!(
            refused.contains("theirs") && refused.contains("ours"),
            "{refused}"
        );
    }

    #[test]
    fn a_pointer_that_is_none_is_not_quoted() {
        let refused = Pointer::read("\"a secret\"", None).err().unwrap();
        assert!(!refused.contains("secret"), "{refused}");
    }
}
