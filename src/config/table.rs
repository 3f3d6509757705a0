//! The settings, one row each: key, type, default and meaning, and the variable and flag that set it
//! as well. File, environment, merge, `config`, the JSON schema and the reference page follow from it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::STARVATION_GUARD;
use super::alarms::{AlarmHook, AlarmSettings, check_hooks};
use super::contexts::{Context, check_contexts};
use super::listen::Listen;
use super::merge::{Layer, Origin, Setting, topmost};
use super::rows::{Row, settings};
use super::urls::{check_endpoint, check_http_url, check_queue_url, check_queues};
use super::values::{Band, SettingValue, WorkerLost, check_bands, check_name, check_slots};
use crate::domain::{AlarmKind, Isolation, LOG_FILES, LogFormat, Ring, SlotRange};

/// One for each core of this host.
fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(4, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(4)
}

settings! {
    /// URL of the base queue.
    queue_url: String = String::new(),
        section: "Queues", flag: "--queue-url", env: "DAGSTER_TASKIQ_SQS_QUEUE_URL",
        computed: "none", check: check_queue_url,
        example: "https://sqs.eu-west-1.amazonaws.com/123456789012/dagster-tasks";
    /// SQS endpoint other than AWS's own.
    endpoint_url: String,
        flag: "--endpoint-url", env: "DAGSTER_TASKIQ_SQS_ENDPOINT_URL", computed: "AWS",
        check: check_endpoint,
        example: "http://127.0.0.1:9324";
    /// AWS region.
    region_name: String = String::from("us-east-1"),
        flag: "--region-name",
        computed: "the queue URL's, then `AWS_REGION`, `AWS_DEFAULT_REGION`, us-east-1",
        example: "eu-west-1";
    /// Name that stands for the base queue in tags and in `subscribe`.
    default_queue: String = String::from("dagster");
    /// Queues that steps can ask for by tag: name to URL.
    queues: BTreeMap<String, String> = BTreeMap::new(),
        check: check_queues,
        example: "{slow: https://sqs.eu-west-1.amazonaws.com/123456789012/dagster-slow}";
    /// Names of the queues (from `queues`, or the base queue's) that this worker serves.
    subscribe: Vec<String> = Vec::new(),
        flag: "--queue", computed: "every queue", example: "[dagster]";
    /// Priority bands, highest first. A band's queue is `<base>-<name>`, that of `normal` the base
    /// queue; all but the last have a `min`, the lowest priority that travels on it.
    priority_bands: Vec<Band> = Vec::new(),
        check: check_bands,
        example: "[{name: high, min: 8}, {name: normal, min: 3}, {name: low}]";
    /// How long other bands may keep a queue from being asked.
    starvation_guard: Duration = STARVATION_GUARD;
    /// How long a received message is hidden from other workers; renewed while it is in hand.
    visibility_timeout: Duration = Duration::from_mins(1), range: (10, 43_200);
    /// Executions of one attempt (of a run: its run workers) without an end after which a message
    /// is put away; 0: no limit.
    max_deliveries: u32 = 10;
    /// Bucket for the results that senders of Python's `dagster-taskiq` wait for.
    s3_bucket_name: String, env: "DAGSTER_TASKIQ_S3_BUCKET_NAME", example: "dagster-results";
    /// S3 endpoint other than AWS's own.
    s3_endpoint_url: String,
        env: "DAGSTER_TASKIQ_S3_ENDPOINT_URL", computed: "AWS", check: check_endpoint,
        example: "http://127.0.0.1:9000";

    /// Steps that may run at once: a number, or the smallest and the largest one, between which it
    /// follows the load (`2..16`).
    slots: SlotRange = SlotRange::fixed(cores()),
        section: "Worker", flag: "--slots", env: "DAGSTER_TASKIQ_SLOTS", alias: "workers",
        computed: "one per core", check: check_slots, example: "8";
    /// How long messages wait before slots that follow the load are added.
    slots_grow_after: Duration = Duration::from_secs(10);
    /// How long such slots are free before they are taken away.
    slots_shrink_after: Duration = Duration::from_mins(1);
    /// Percent of the CPU in use from which on no such slots are added; 100: it does not matter.
    slots_cpu_limit: u32 = 85, range: (1, 100);
    /// Run workers that may run at once.
    run_slots: u32 = 4, flag: "--run-slots";
    /// Messages held beyond the free slots. None by default: a message in hand may wait here while
    /// another worker is idle.
    prefetch: u32 = 0;
    /// Unique name of this worker.
    name: String, flag: "--name", computed: "host name and pid", check: check_name, example: "worker-1";
    /// Python that runs the steps; it must have dagster.
    python: PathBuf,
        flag: "--python", computed: "`$VIRTUAL_ENV`, then `PATH`",
        example: "/srv/dagster/.venv/bin/python";
    /// Folder of `dagster.yaml`.
    dagster_home: PathBuf,
        flag: "--dagster-home", env: "DAGSTER_HOME", example: "/srv/dagster/home";
    /// Module names and file globs that this worker may load.
    allow_locations: Vec<String> = Vec::new(),
        env: "DAGSTER_TASKIQ_ALLOW_LOCATIONS", computed: "all", example: "[etl.*, /srv/code/*.py]";
    /// Whether a message's own instance reference is obeyed.
    trust_message_instance: bool = false;
    /// How long tasks of code that fails to load are given back before they fail: it may be in the
    /// middle of a deployment. While another live worker serves the queue, they are left to it.
    load_grace: Duration = Duration::from_secs(30);

    /// Process a step gets: `auto`, `fork`, `reuse` or `fresh`.
    isolation: Isolation = Isolation::default(),
        section: "Steps", flag: "--isolation", env: "DAGSTER_TASKIQ_ISOLATION";
    /// The same for single code locations: a module, or a file or the end of its path.
    isolation_by_location: BTreeMap<String, Isolation> = BTreeMap::new(),
        example: "{defs.py: fresh, etl.defs: reuse}";
    /// Steps that a reused process runs before another takes its place.
    max_steps_per_process: u32 = 100, range: (1, u32::MAX);
    /// MiB that a reused process may hold after a step; 0: no limit.
    max_memory_per_process: u32 = 0;
    /// Time between SIGINT and SIGTERM of a cancelled step; SIGKILL comes 5 s later.
    cancel_grace: Duration = Duration::from_secs(10);
    /// How long a step runs before it is compared with its durations in earlier runs of its job;
    /// 0: never.
    slow_after: Duration = Duration::from_mins(1);
    /// What happens to a step whose worker is lost: `retry` or `fail`.
    on_worker_lost: WorkerLost = WorkerLost::Retry;
    /// Attempts of a step that may be lost with their worker.
    max_worker_lost_retries: u32 = 2;

    /// Form of the log, on standard error and in its files: `text` or `json`.
    log_format: LogFormat = LogFormat::Text, section: "Logs and metrics", flag: "--log-format";
    /// Log files, one a day, that are kept.
    log_files: u32 = LOG_FILES, range: (1, u32::MAX);
    /// Address that serves metrics and health over HTTP: an address and port, a port of loopback, or
    /// `off`.
    metrics_listen: Listen = Listen::default(),
        flag: "--metrics-listen", example: "127.0.0.1:9400";

    /// What raises an alarm; docs/guide/alarms.md explains each key.
    alarms: AlarmSettings = AlarmSettings::default(),
        section: "Alarms", computed: "in the guide",
        example: "{old_message: 1800, disk_free: 4096, disabled: [failed-run]}";
    /// Commands and URLs that alarms are sent to; docs/guide/alarms.md has examples.
    alarm_hooks: Vec<AlarmHook> = Vec::new(),
        check: check_hooks,
        example: "[{name: ops, url: https://hooks.slack.com/services/T0/B0/x, template: slack}]";

    /// URL of Dagster's webserver.
    webserver_url: String,
        section: "Console", flag: "--webserver-url", env: "DAGSTER_TASKIQ_WEBSERVER_URL",
        check: check_http_url, example: "http://127.0.0.1:3000";
    /// Theme: the name of a built-in one, or a file.
    theme: String = String::from("default"), flag: "--theme";
    /// File of the operator's own commands; docs/guide/console.md has examples.
    plugins: PathBuf,
        flag: "--plugins", computed: "`plugins.yaml` beside the settings file",
        example: "/etc/dagster-taskiq/plugins.yaml";
    /// How the console calls for alarms: `bell` (BEL), `desktop` (OSC 9) or both.
    ring: Vec<Ring> = Vec::new(), flag: "--ring", example: "[bell]";
    /// Alarms that it calls for.
    ring_for: Vec<AlarmKind> = AlarmKind::USUAL.to_vec(), flag: "--ring-for";
    /// Whether every command that changes something is refused.
    read_only: bool = false, flag: "--read-only";

    /// Deployments that `--context` and `:context` choose by name. Of the chosen one are `queue_url`,
    /// `endpoint_url`, `region_name`, `webserver_url` and `dagster_home`; `hosts` and `runtime_dir`
    /// of its workers; the `colour` of its name.
    contexts: BTreeMap<String, Context> = BTreeMap::new(),
        section: "Contexts", check: check_contexts,
        example: "{production: {queue_url: https://sqs.eu-west-1.amazonaws.com/123456789012/dagster-tasks, hosts: [ann@etl-1], colour: red}}";
    /// Name of the context to use.
    context: String, flag: "--context", env: "DAGSTER_TASKIQ_CONTEXT";

    /// Settings of the executor's and the launcher's SQS client.
    config_source: Map<String, Value>,
        section: "Executor", unused: "only executor and launcher use it", example: "{}";
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial").finish_non_exhaustive()
    }
}
