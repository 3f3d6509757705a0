//! The broker's request decoders and actions on an engine of their own, without HTTP. Used by the
//! property tests and by the fuzz target.

#![allow(dead_code, reason = "the fuzz target uses a part of this")]

pub use dagster_taskiq_tui::sqs_server::actions::ACTIONS;
use dagster_taskiq_tui::sqs_server::actions::{Context, dispatch};
use dagster_taskiq_tui::sqs_server::engine::Engine;
use dagster_taskiq_tui::sqs_server::error::SqsError;
use dagster_taskiq_tui::sqs_server::guard::Reach;
use dagster_taskiq_tui::sqs_server::journal::{Durability, Journal};
use dagster_taskiq_tui::sqs_server::protocol::json;
use dagster_taskiq_tui::sqs_server::protocol::query::{self, Form};
use dagster_taskiq_tui::sqs_server::receipt::ReceiptSealer;
use tokio::runtime::Runtime;

/// An engine with a standard and a FIFO queue, `q` and `q.fifo`.
pub struct Decoders {
    runtime: Runtime,
    engine: Engine,
    sealer: ReceiptSealer,
    _folder: tempfile::TempDir,
}

impl Decoders {
    /// Starts the engine in a temporary folder.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.sqlite");
        let mut journal = Journal::open(&path, Durability::Os).unwrap();
        let loaded = journal.load().unwrap();
        let (engine, _) = Engine::start(journal, loaded.broker).unwrap();
        let decoders = Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            engine,
            sealer: ReceiptSealer::new(loaded.secret),
            _folder: folder,
        };
        for body in [
            r#"{"QueueName":"q"}"#,
            r#"{"QueueName":"q.fifo","Attributes":{"FifoQueue":"true"}}"#,
        ] {
            decoders.json("CreateQueue", body.as_bytes()).unwrap();
        }
        decoders
    }

    /// A request of the JSON protocol: whether it was accepted. An error when the broker is to
    /// blame for its answer.
    pub fn json(&self, action: &str, body: &[u8]) -> Result<bool, String> {
        let outcome = self.dispatch(json::action_of(action), body);
        blame(outcome.map(drop))
    }

    /// A request of the query protocol: whether it was accepted. An error when the broker is to
    /// blame for its answer.
    pub fn form(&self, body: &[u8]) -> Result<bool, String> {
        let outcome = query::parse("/", body).and_then(|request| {
            let output = self.dispatch(&request.action, request.input.to_string().as_bytes())?;
            for form in [Form::Xml, Form::Json] {
                drop(query::answer(form, &request.action, &output, "id"));
            }
            Ok(())
        });
        if let Err(error) = &outcome {
            drop(query::failure(Form::Xml, error, "id"));
        }
        blame(outcome)
    }

    /// Messages that wait in a queue.
    pub fn waiting(&self, queue: &str) -> usize {
        let queue = queue.to_owned();
        let count = self
            .engine
            .run(move |broker, _| Ok(broker.queue(&queue)?.counts().waiting));
        self.runtime.block_on(count).unwrap()
    }

    /// That the engine's thread lives and writes: on a queue of its own, since what was sent before
    /// may have deleted the others or filled their tags.
    pub fn still_work(&self) {
        for (action, body) in [
            ("CreateQueue", r#"{"QueueName":"still-working"}"#),
            (
                "TagQueue",
                r#"{"QueueUrl":"still-working","Tags":{"a":"b"}}"#,
            ),
        ] {
            let outcome = self.json(action, body.as_bytes());
            assert_eq!(outcome, Ok(true), "{action}");
        }
    }

    fn dispatch(&self, action: &str, body: &[u8]) -> Result<bytes::Bytes, SqsError> {
        let ctx = Context {
            engine: &self.engine,
            sealer: &self.sealer,
            base: "http://127.0.0.1:9324",
            region: "us-east-1",
            account: "000000000000",
            reach: Reach::All,
            trace: None,
            twist: dagster_taskiq_tui::sqs_server::actions::Twist::default(),
        };
        self.runtime.block_on(dispatch(&ctx, action, body))
    }
}

fn blame(outcome: Result<(), SqsError>) -> Result<bool, String> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind.is_sender_fault() => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}
