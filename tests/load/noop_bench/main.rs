//! How fast tasks that do nothing go through this project's worker, and through `taskiq worker` with
//! taskiq-aio-sqs, on the same embedded broker: `cargo run --release --example noop_bench` after
//! `cargo build --release`.
//!
//! A queue is filled, a worker is started on it, and the queue is looked at until it is empty. The
//! rate is that between the first message that is gone and the last: a start is not in it. The two
//! take turns; the figures are medians. Nothing here passes or fails by what was measured.

#[path = "../common/mod.rs"]
mod common;
#[path = "../executor_bench/services.rs"]
#[allow(dead_code, reason = "no Redis and no PostgreSQL here")]
mod services;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use clap::Parser;
use common::server::Server;
use common::{Failure, cpu_of};
use dagster_taskiq_tui::environment::managed;
use services::{Service, command};
use uuid::Uuid;

const OUR_LOCK: &str = include_str!("../executor_bench/requirements.lock");
const THEIR_LOCK: &str = include_str!("../../worker/upstream/requirements.lock");

/// How long a worker may take to its first message.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(20);

/// Measures how fast tasks that do nothing go through two workers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Messages for this project's worker
    #[arg(long, default_value_t = 50_000)]
    messages: usize,
    /// Messages for `taskiq worker`
    #[arg(long, default_value_t = 3_000)]
    their_messages: usize,
    /// Rounds, in each of which both have their turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The binary to measure; the one beside this program without it
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// One worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum System {
    Ours,
    Taskiq,
}

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "dagster-taskiq-tui worker start",
            Self::Taskiq => "taskiq worker",
        }
    }
}

/// What one round took.
struct Round {
    rate: f64,
    /// Processor time of the broker a message, in microseconds: receiving and deleting.
    broker: f64,
    /// Processor time of the worker's processes a message, in microseconds.
    worker: f64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let bench = Bench::start(arguments.binary.clone())?;
    println!("machine: {}", common::machine());
    println!("load average before: {}", common::load_average());
    let mut rounds = [Vec::new(), Vec::new()];
    for number in 1..=arguments.rounds {
        let systems = [
            (System::Ours, arguments.messages),
            (System::Taskiq, arguments.their_messages),
        ];
        for ((system, messages), rounds) in systems.into_iter().zip(&mut rounds) {
            let round = bench.round(system, messages, number).await?;
            let (name, rate) = (system.name(), round.rate);
            eprintln!("round {number}, {name}: {rate:.0} messages/s");
            rounds.push(round);
        }
    }
    println!("load average after: {}", common::load_average());
    println!("| worker | messages | messages/s | worker µs a message | broker µs a message |");
    println!("|---|--:|--:|--:|--:|");
    let counts = [arguments.messages, arguments.their_messages];
    for ((system, rounds), messages) in [System::Ours, System::Taskiq]
        .iter()
        .zip(&rounds)
        .zip(counts)
    {
        let [rate, worker, broker] = [
            median(rounds, |round| round.rate),
            median(rounds, |round| round.worker),
            median(rounds, |round| round.broker),
        ];
        let name = system.name();
        println!("| `{name}` | {messages} | {rate:.0} | {worker:.0} | {broker:.0} |");
    }
    let ratio = median(&rounds[0], |r| r.rate) / median(&rounds[1], |r| r.rate);
    println!("ratio of the rates: {ratio:.1}");
    Ok(())
}

fn median(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<_> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What the rounds share.
struct Bench {
    binary: PathBuf,
    ours: PathBuf,
    theirs: PathBuf,
    client: Client,
    folder: tempfile::TempDir,
    broker: Server,
}

impl Bench {
    fn start(binary: Option<PathBuf>) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let binary = binary.map_or_else(common::binary_beside, Ok)?;
        let broker = Server::start(&binary, &folder.path().join("broker"))?;
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
            .endpoint_url(&broker.endpoint)
            .build();
        Ok(Self {
            ours: python(OUR_LOCK)?,
            theirs: python(THEIR_LOCK)?,
            client: Client::from_conf(config),
            binary,
            folder,
            broker,
        })
    }

    async fn round(
        &self,
        system: System,
        messages: usize,
        number: usize,
    ) -> Result<Round, Failure> {
        let short = if system == System::Ours {
            "ours"
        } else {
            "theirs"
        };
        let name = format!("{short}-{number}");
        let folder = self.folder.path().join(&name);
        std::fs::create_dir(&folder)?;
        let created = self.client.create_queue().queue_name(&name).send().await?;
        let url = created.queue_url.ok_or("a queue without a URL")?;
        self.fill(&url, messages).await?;
        let worker = match system {
            System::Ours => self.our_worker(&url, &folder)?,
            System::Taskiq => self.their_worker(&name, &folder)?,
        };
        let begin = self.left_below(&url, messages, &worker).await?;
        let before = self.used(&worker)?;
        let end = self.left_below(&url, 1, &worker).await?;
        let after = self.used(&worker)?;
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let gone = (begin.1 - end.1) as f64;
        let used = |index: usize| after[index].saturating_sub(before[index]);
        let micros = |index: usize| used(index).as_secs_f64() * 1e6 / gone;
        Ok(Round {
            rate: gone / (end.0 - begin.0).as_secs_f64(),
            broker: micros(0),
            worker: micros(1),
        })
    }

    async fn fill(&self, url: &str, messages: usize) -> Result<(), Failure> {
        for _ in 0..messages.div_ceil(10) {
            let entries = (0..10).map(|id| {
                let task = Uuid::new_v4().simple();
                SendMessageBatchRequestEntry::builder()
                    .id(id.to_string())
                    .message_body(format!(
                        r#"{{"task_id":"{task}","task_name":"dagster_taskiq.noop","labels":{{}},"labels_types":{{}},"args":[],"kwargs":{{}}}}"#
                    ))
                    .build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            let request = self.client.send_message_batch().queue_url(url);
            request.set_entries(Some(entries)).send().await?;
        }
        Ok(())
    }

    fn our_worker(&self, url: &str, folder: &Path) -> Result<Service, Failure> {
        std::fs::write(folder.join("dagster.yaml"), "telemetry: {enabled: false}\n")?;
        let variables = [
            ("DAGSTER_HOME", folder.to_string_lossy().into_owned()),
            ("DAGSTER_TASKIQ_SQS_QUEUE_URL", url.to_owned()),
            (
                "DAGSTER_TASKIQ_SQS_ENDPOINT_URL",
                self.broker.endpoint.clone(),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let mut worker = command(&self.binary, &variables);
        worker
            .args(["worker", "start", "--slots", "40", "--python"])
            .arg(&self.ours);
        Service::start(worker, "ours", folder, false)
    }

    fn their_worker(&self, queue: &str, folder: &Path) -> Result<Service, Failure> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/load/noop_bench");
        let variables = [
            ("NOOP_BENCH_QUEUE", queue.to_owned()),
            ("NOOP_BENCH_ENDPOINT", self.broker.endpoint.clone()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("PYTHONPATH", here.to_string_lossy().into_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let mut worker = command(&self.theirs, &variables);
        // Two processes, as it has without being told.
        worker.args([
            "-m",
            "taskiq",
            "worker",
            "noop_worker:broker",
            "--workers",
            "2",
        ]);
        Service::start(worker, "theirs", folder, false)
    }

    /// When fewer messages than this are left, and how many.
    async fn left_below(
        &self,
        url: &str,
        bound: usize,
        worker: &Service,
    ) -> Result<(Instant, usize), Failure> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let mut last = (Instant::now(), usize::MAX);
        loop {
            let request = self.client.get_queue_attributes().queue_url(url);
            let request = request.set_attribute_names(Some(names.to_vec()));
            let found = request.send().await?.attributes.unwrap_or_default();
            let left = found.values().map(|count| count.parse::<usize>());
            let left: usize = left.sum::<Result<_, _>>()?;
            if left < bound {
                return Ok((Instant::now(), left));
            }
            if left < last.1 {
                last = (Instant::now(), left);
            }
            if last.0.elapsed() > PATIENCE {
                return Err(format!("nothing goes on any more:\n{}", worker.tail()).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Processor time so far of the broker, and of the worker with its processes.
    fn used(&self, worker: &Service) -> Result<[Duration; 2], Failure> {
        let broker = cpu_of(&self.broker.pid().to_string())?;
        let mut processes = vec![worker.pid()];
        let mut sum = Duration::ZERO;
        while let Some(pid) = processes.pop() {
            sum += cpu_of(&pid.to_string()).unwrap_or_default();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            processes.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        Ok([broker, sum])
    }
}

/// A Python environment with what a lock names, made by the first program that needs it.
fn python(lock: &str) -> Result<PathBuf, Failure> {
    let base = std::env::var_os(managed::PYTHON_VARIABLE).filter(|value| !value.is_empty());
    let base = base.map(PathBuf::from);
    let tell = &mut |text: &str| eprintln!("{text}");
    Ok(managed::ensure_in(&managed::cache_folder()?, base.as_deref(), lock, tell)?.python)
}
