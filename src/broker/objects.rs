//! S3: bodies that were too large for a message, and the results that senders of Python's
//! `dagster-taskiq` wait for, both in taskiq-aio-sqs's form.
//!
//! An object that was fetched is left where it is: its sender's life-cycle rules own it, and a
//! message that comes back needs it again.

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

/// Largest body that is fetched, in bytes: what a frame to a Python host can carry, less its rest.
const MAX_BODY: u64 = 15 * 1024 * 1024;

/// Longest time for connecting, for a request, and for a request with its repetitions.
const CONNECT: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(30);
const WITH_RETRIES: Duration = Duration::from_secs(20);

/// The SQS body of an offloaded message.
#[derive(Deserialize)]
struct Pointer {
    s3_bucket: String,
    s3_key: String,
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
            region: settings.region.value.clone(),
            results: settings.s3_bucket.value.clone(),
            credentials,
            buckets: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The bucket for results, where one is configured.
    pub fn results(&self) -> Option<&str> {
        self.shared.results.as_deref()
    }

    /// The body that an offloaded message stands for.
    pub async fn fetch(&self, delivery: &Delivery) -> Result<String, BrokerError> {
        let gone = |reason: String| BrokerError::Offloaded {
            message_id: delivery.message_id.clone(),
            reason,
        };
        let pointer: Pointer = serde_json::from_str(&delivery.body)
            .map_err(|error| gone(format!("it does not name its object in S3: {error}")))?;
        let name = format!("s3://{}/{}", pointer.s3_bucket, pointer.s3_key);
        let failed = |error: object_store::Error| match error {
            object_store::Error::NotFound { .. } => gone(format!("{name} does not exist")),
            error => self.error(format!("fetch {name}"), &error),
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

    /// Puts a result where the sender of a task looks for it.
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

    /// Asks for an object that is not there: only a bucket that may be read says so.
    pub async fn probe(&self, bucket: &str) -> Result<(), BrokerError> {
        let path = Path::from("dagster-taskiq-tui/doctor");
        match self.bucket(bucket)?.head(&path).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(format!("read the bucket {bucket}"), &error)),
        }
    }

    fn bucket(&self, name: &str) -> Result<Arc<AmazonS3>, BrokerError> {
        // Whole after every statement that changes it.
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
        let aws = || format!("s3.{}.amazonaws.com", self.shared.region);
        BrokerError::Store {
            attempt,
            endpoint: self.shared.endpoint.as_deref().map_or_else(aws, shown),
            reason: one_line(&shown(&error.to_string())),
        }
    }
}

/// The first line, which says what happened; the rest is the server's XML.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

/// The AWS SDK's own credentials, so that S3 gets the ones SQS gets (profiles and roles included).
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
