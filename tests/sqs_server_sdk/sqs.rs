//! The broker that the tests of this binary share, and calls of the SDK that many of them make.

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::change_message_visibility::{
    ChangeMessageVisibilityError, ChangeMessageVisibilityOutput,
};
use aws_sdk_sqs::operation::delete_message::{DeleteMessageError, DeleteMessageOutput};
use aws_sdk_sqs::operation::receive_message::builders::ReceiveMessageFluentBuilder;
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_sdk_sqs::operation::send_message::builders::SendMessageFluentBuilder;
use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::server::Server;

/// The codes of errors that have a longer name in the older protocol.
pub const LONG: &str = "AWS.SimpleQueueService.";
/// For how long something that must happen is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running broker, and a client of it.
pub struct Sqs {
    pub client: Client,
    pub server: Arc<Running>,
}

/// The process, and its folder after it.
pub struct Running {
    process: Server,
    _folder: TempDir,
}

impl Deref for Running {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.process
    }
}

/// The broker that all tests use which run at this time; the last one ends it.
pub fn shared() -> Sqs {
    static RUNNING: Mutex<Weak<Running>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap();
    let server = running.upgrade().unwrap_or_else(|| {
        let folder = TempDir::new().unwrap();
        let process = Server::start(folder.path());
        Arc::new(Running {
            process,
            _folder: folder,
        })
    });
    *running = Arc::downgrade(&server);
    Sqs {
        client: server.client(),
        server,
    }
}

/// A broker of the test's own on a folder with something in it.
pub fn on(folder: TempDir) -> Sqs {
    let process = Server::start(folder.path());
    Sqs {
        client: process.client(),
        server: Arc::new(Running {
            process,
            _folder: folder,
        }),
    }
}

pub type Attributes<'a> = &'a [(QueueAttributeName, &'a str)];

/// A name no other test uses.
pub fn new_name(suffix: &str) -> String {
    format!("q-{}{suffix}", Uuid::new_v4().simple())
}

impl Sqs {
    /// A new queue; a FIFO one when the attributes say so.
    pub async fn queue(&self, attributes: Attributes<'_>) -> String {
        let is_fifo = attributes
            .iter()
            .any(|(name, _)| *name == QueueAttributeName::FifoQueue);
        let name = new_name(if is_fifo { ".fifo" } else { "" });
        let made = self.create(&name, attributes).await;
        made.unwrap()
    }

    /// A new FIFO queue that deduplicates by content.
    pub async fn fifo(&self, more: Attributes<'_>) -> String {
        let kind = [
            (QueueAttributeName::FifoQueue, "true"),
            (QueueAttributeName::ContentBasedDeduplication, "true"),
        ];
        self.queue(&[&kind, more].concat()).await
    }

    /// Makes a queue; its URL.
    pub async fn create(
        &self,
        name: &str,
        attributes: Attributes<'_>,
    ) -> Result<String, SdkError<aws_sdk_sqs::operation::create_queue::CreateQueueError>> {
        let call = self.client.create_queue().queue_name(name);
        let made = call.set_attributes(Some(owned(attributes))).send().await?;
        Ok(made.queue_url.unwrap())
    }

    /// Changes attributes.
    pub async fn set(
        &self,
        url: &str,
        attributes: Attributes<'_>,
    ) -> Result<(), SdkError<aws_sdk_sqs::operation::set_queue_attributes::SetQueueAttributesError>>
    {
        let call = self.client.set_queue_attributes().queue_url(url);
        let call = call.set_attributes(Some(owned(attributes)));
        call.send().await.map(drop)
    }

    pub async fn attributes(&self, url: &str) -> HashMap<QueueAttributeName, String> {
        let call = self.client.get_queue_attributes().queue_url(url);
        let answer = call.attribute_names(QueueAttributeName::All).send().await;
        answer.unwrap().attributes.unwrap()
    }

    pub async fn arn(&self, url: &str) -> String {
        self.attributes(url).await[&QueueAttributeName::QueueArn].clone()
    }

    /// Visible, in flight, delayed.
    pub async fn counts(&self, url: &str) -> [i64; 3] {
        let attributes = self.attributes(url).await;
        [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ]
        .map(|name| attributes[&name].parse().unwrap())
    }

    pub fn send(&self, url: &str, body: &str) -> SendMessageFluentBuilder {
        let call = self.client.send_message().queue_url(url);
        call.message_body(body)
    }

    pub async fn put(&self, url: &str, body: &str) -> SendMessageOutput {
        self.send(url, body).send().await.unwrap()
    }

    /// Sends into one message group.
    pub async fn put_in(&self, url: &str, group: &str, bodies: &[&str]) -> Vec<SendMessageOutput> {
        let mut sent = Vec::new();
        for body in bodies {
            let call = self.send(url, body).message_group_id(group);
            sent.push(call.send().await.unwrap());
        }
        sent
    }

    /// Up to ten messages with their system attributes.
    pub async fn receive(&self, url: &str) -> Vec<Message> {
        self.receive_with(url, |call| call).await
    }

    /// As [`Sqs::receive`], with more asked for.
    pub async fn receive_with(
        &self,
        url: &str,
        ask: impl FnOnce(ReceiveMessageFluentBuilder) -> ReceiveMessageFluentBuilder,
    ) -> Vec<Message> {
        let call = self.client.receive_message().queue_url(url);
        let call = call
            .max_number_of_messages(10)
            .message_system_attribute_names(MessageSystemAttributeName::All);
        let answer = ask(call).send().await.unwrap();
        answer.messages.unwrap_or_default()
    }

    /// The next message, waited for, and hidden for ten minutes.
    pub async fn take(&self, url: &str) -> Message {
        let messages = self.receive_with(url, |call| {
            call.max_number_of_messages(1)
                .wait_time_seconds(20)
                .visibility_timeout(600)
        });
        messages.await.remove(0)
    }

    pub async fn delete(
        &self,
        url: &str,
        message: &Message,
    ) -> Result<DeleteMessageOutput, SdkError<DeleteMessageError>> {
        let call = self.client.delete_message().queue_url(url);
        call.receipt_handle(handle(message)).send().await
    }

    pub async fn hide(
        &self,
        url: &str,
        message: &Message,
        seconds: i32,
    ) -> Result<ChangeMessageVisibilityOutput, SdkError<ChangeMessageVisibilityError>> {
        let call = self.client.change_message_visibility().queue_url(url);
        let call = call.receipt_handle(handle(message));
        call.visibility_timeout(seconds).send().await
    }
}

fn owned(attributes: Attributes<'_>) -> HashMap<QueueAttributeName, String> {
    let pairs = attributes.iter();
    pairs
        .map(|(name, value)| (name.clone(), (*value).to_owned()))
        .collect()
}

/// A message attribute of text or a number.
pub fn text(kind: &str, value: &str) -> MessageAttributeValue {
    let value = MessageAttributeValue::builder().string_value(value);
    value.data_type(kind).build().unwrap()
}

pub fn handle(message: &Message) -> &str {
    message.receipt_handle().unwrap()
}

pub fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|one| one.body().unwrap()).collect()
}

pub fn system(message: &Message, name: &MessageSystemAttributeName) -> Option<String> {
    message.attributes()?.get(name).cloned()
}

/// How often a message was received.
pub fn receives(message: &Message) -> u32 {
    let count = system(
        message,
        &MessageSystemAttributeName::ApproximateReceiveCount,
    );
    count.unwrap().parse().unwrap()
}

/// The call must have been refused with this code, the status SQS gives it, and these words.
pub fn refused<T: Debug, E: ProvideErrorMetadata + Debug>(
    result: Result<T, SdkError<E>>,
    code: &str,
    words: &str,
) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), Some(code), "{error:?}");
    let text = error.message().unwrap();
    assert!(text.contains(words), "{text}");
    let status = match code.rsplit('.').next().unwrap() {
        "ReceiptHandleIsInvalid" | "ResourceNotFoundException" => 404,
        "OverLimit" | "PurgeQueueInProgress" => 403,
        _ => 400,
    };
    assert_eq!(error.raw_response().unwrap().status().as_u16(), status);
}

/// Looks until the condition holds.
pub async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
