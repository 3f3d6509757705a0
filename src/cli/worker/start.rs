//! Assembles a worker: settings, log, queues, Python hosts, control socket, pool.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};

use super::restart;
use super::signals::Signals;
use super::{RunArgs, StartArgs, WorkerError};
use crate::alarms::{self, Watch};
use crate::config::{Settings, WorkerLost, state_folder};
use crate::domain::{
    EventSink, ForkServerView, LogFormat, Route, Slots, Timestamp, WorkerState, WorkerView,
};
use crate::environment::packages;
use crate::fork_server::{
    ForkServerNotice, ForkServerSettings, ForkServers, IsolationSettings, LostPolicy,
    WorkerIdentity,
};
use crate::protocol::audit::AuditLog;
use crate::protocol::{Request, socket_folder};
use crate::sqs::{Broker, QueueSet};
use crate::telemetry;
use crate::telemetry::traces::{self, TracedWorker};
use crate::worker::control_server::{ControlServer, ControlServerOptions};
use crate::worker::exporter::Exporter;
use crate::worker::status_store::{self, Published, StatusStore};
use crate::worker::{AutoscalerOptions, Pool, PoolOptions};

/// Maximum number of commands waiting for the pool, which answers each within a turn of its loop.
const ORDERS: usize = 64;

/// Maximum number of notices waiting to be logged.
const NOTICES: usize = 256;

pub(super) async fn start(args: RunArgs) -> Result<ExitCode, WorkerError> {
    let settings = args.start.settings()?;
    let signals = Signals::install()?;
    let (events, received) = EventSink::channel();
    let own = identity(&settings);
    let format = settings.log_format.value;
    let log_dir = args.start.log_dir.clone();
    let log = telemetry::init(telemetry::Options {
        folder: log_dir.or_else(telemetry::default_folder),
        files: settings.log_files.value,
        format,
        stderr: true,
        sink: Some(events.clone()),
        worker: Some(own.id.clone()),
        ..telemetry::Options::default()
    })?;
    let ended = run(&args, &settings, own, (events, received), signals).await;
    match ended {
        Ok(false) => Ok(ExitCode::SUCCESS),
        Ok(true) => {
            info!("starting again");
            // The log is written out first.
            drop(log);
            Err(restart::in_place())
        }
        Err(problem) => {
            error!(target: telemetry::END, "{problem}");
            match format {
                LogFormat::Text => Err(problem),
                // Standard error has it as a line of the log, and no line that is no JSON.
                LogFormat::Json => Ok(ExitCode::FAILURE),
            }
        }
    }
}

/// Runs until the worker ends; returns whether the process is to be started again.
async fn run(
    args: &RunArgs,
    settings: &Settings,
    own: WorkerIdentity,
    (events, received): (EventSink, mpsc::Receiver<crate::domain::Event>),
    mut signals: Signals,
) -> Result<bool, WorkerError> {
    traces::start(TracedWorker {
        id: own.id.clone(),
        hostname: own.hostname.clone(),
        version: own.version.clone(),
    });
    let id = own.id.clone();
    let worker = tokio::select! {
        worker = assemble(&args.start, settings, own, events, received) => worker?,
        // Nothing was received yet, so there is nothing to finish.
        () = signals.next() => return Ok(false),
    };
    let pid_file = args.pid_file.as_ref().map(|path| {
        if path.is_dir() {
            socket_folder::socket_path(path, &id).with_extension("pid")
        } else {
            path.clone()
        }
    });
    if let Some(path) = &pid_file {
        let written = std::fs::write(path, format!("{}\n", std::process::id()));
        written.map_err(|source| WorkerError::PidFile {
            path: path.clone(),
            source,
        })?;
    }
    let restarts = worker.run(signals).await;
    if let Some(traces) = traces::traces() {
        traces.shutdown().await;
    }
    if let Some(path) = pid_file.filter(|_| !restarts) {
        // A file that is already gone is not an error.
        let _ = std::fs::remove_file(path);
    }
    Ok(restarts)
}

/// A worker whose parts all started.
struct Worker {
    pool: Pool,
    orders: (mpsc::Sender<Request>, mpsc::Receiver<Request>),
    requests: mpsc::Receiver<Request>,
    alarms: Watch,
    server: ControlServer,
    store: tokio::task::JoinHandle<()>,
    _exporter: Option<AbortOnDropHandle<()>>,
}

impl Worker {
    /// Runs until the pool ends; returns whether the process is to be started again.
    async fn run(self, signals: Signals) -> bool {
        let Self {
            pool,
            orders: (send, receive),
            mut requests,
            alarms,
            server,
            store,
            _exporter,
        } = self;
        let forward = {
            let send = send.clone();
            async move {
                while let Some(request) = requests.recv().await {
                    if request.command.route() == Route::Alarms {
                        // One that does not fit drops its reply, which the caller is told of.
                        let _ = alarms.requests.try_send(request);
                        continue;
                    }
                    if send.send(request).await.is_err() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            }
        };
        let restarts = tokio::select! {
            restarts = pool.run(receive) => restarts,
            () = signals.into_orders(send) => false,
            () = forward => false,
        };
        // The pool held the last sink but the log's: the store may process the rest, but is not
        // waited for beyond the socket's own time.
        server.close().await;
        store.abort();
        restarts
    }
}

async fn assemble(
    args: &StartArgs,
    settings: &Settings,
    identity: WorkerIdentity,
    events: EventSink,
    received: mpsc::Receiver<crate::domain::Event>,
) -> Result<Worker, WorkerError> {
    let (published, store) = status_store::spawn(
        StatusStore::new(view(&identity, settings)),
        received,
        events.drop_counter(),
        events.audience(),
    );
    let exporter = export(settings, &published).await?;
    let broker = Broker::connect(settings).await;
    let queues = broker.resolve(QueueSet::configured(settings)).await?;
    let (notices, incoming) = mpsc::channel(NOTICES);
    tokio::spawn(log_notices(incoming));
    let hosts = ForkServers::start(host_settings(settings, &identity)?, notices).await?;
    let (requests_in, requests) = mpsc::channel(ORDERS);
    let options = ControlServerOptions {
        folder: args
            .runtime_dir
            .clone()
            .unwrap_or_else(socket_folder::folder),
        worker: identity.id.clone(),
        read_only: settings.read_only.value,
        audit: AuditLog::default_path(),
        webserver_url: settings.webserver_url.value.clone(),
    };
    let alarms = Watch::start(alarms::Options {
        sender: alarms::Sender::new(
            identity.id.clone(),
            identity.hostname.clone(),
            &settings.queue_url.value,
        ),
        settings: settings.alarms.value.clone(),
        hooks: settings.alarm_hooks.value.clone(),
        folders: folders(settings),
        history: alarms::history::default_path(),
        hosts: hosts.clone(),
        broker: broker.clone(),
        events: events.clone(),
        state: {
            let published = published.clone();
            Box::new(move || {
                let published = published.clone();
                Box::pin(async move { published.current().await })
            })
        },
    });
    let server = ControlServer::start(options, published, requests_in).await?;
    let names: Vec<&str> = queues.all().map(|queue| queue.name.as_str()).collect();
    info!(
        "worker {} ready: {} step slots, {} run slots, queues {}, control socket {}",
        identity.id,
        settings.slots.value,
        settings.run_slots.value,
        names.join(" "),
        server.path().display()
    );
    let options = PoolOptions {
        worker: identity.id,
        steps: settings.slots.value,
        autoscaler: AutoscalerOptions {
            grow_after: settings.slots_grow_after.value,
            shrink_after: settings.slots_shrink_after.value,
            cpu_limit: settings.slots_cpu_limit.value,
        },
        runs: settings.run_slots.value,
        prefetch: settings.prefetch.value,
        grace: settings.cancel_grace.value,
        archives: state_folder().join("archive"),
        starvation_guard: settings.starvation_guard.value,
        slow_after: settings.slow_after.value,
    };
    let pool = Pool::new(options, broker, queues, hosts, events);
    Ok(Worker {
        pool,
        orders: mpsc::channel(ORDERS),
        requests,
        alarms,
        server,
        store,
        _exporter: exporter,
    })
}

/// Folders whose disks a worker needs: the state folder, in which the console's broker keeps its
/// data, Dagster's, and those of the settings.
fn folders(settings: &Settings) -> Vec<PathBuf> {
    let home = settings.dagster_home.value.clone();
    let home = home.or_else(|| std::env::var_os("DAGSTER_HOME").map(PathBuf::from));
    let further = settings.alarms.value.disk_folders.iter().cloned();
    let own = std::iter::once(state_folder());
    own.chain(home).chain(further).collect()
}

/// Serves metrics and health if the settings request it: from the start on, since a worker that
/// loads a large project takes a while to be ready.
async fn export(
    settings: &Settings,
    published: &Published,
) -> Result<Option<AbortOnDropHandle<()>>, WorkerError> {
    let Some(listen) = settings.metrics_listen.value.0 else {
        return Ok(None);
    };
    let exporter = Exporter::bind(listen).await?;
    info!("metrics and health at http://{}", exporter.address());
    Ok(Some(exporter.serve(published.clone())))
}

pub(in crate::cli) fn identity(settings: &Settings) -> WorkerIdentity {
    let hostname = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let id = match &settings.name.value {
        Some(name) => name.clone(),
        None => format!("{hostname}-{}", std::process::id()),
    };
    WorkerIdentity {
        id,
        incarnation: uuid::Uuid::new_v4().simple().to_string(),
        hostname,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

pub(in crate::cli) fn host_settings(
    settings: &Settings,
    identity: &WorkerIdentity,
) -> Result<ForkServerSettings, WorkerError> {
    let max = settings.max_worker_lost_retries.value;
    Ok(ForkServerSettings {
        python: settings
            .python
            .value
            .clone()
            .or_else(find_python)
            .ok_or(WorkerError::NoPython)?,
        dagster_home: settings.dagster_home.value.clone(),
        trust_message_instance: settings.trust_message_instance.value,
        allow_locations: settings.allow_locations.value.clone(),
        worker: identity.clone(),
        cancel_grace: settings.cancel_grace.value,
        on_worker_lost: match settings.on_worker_lost.value {
            WorkerLost::Retry => LostPolicy::Retry { max },
            WorkerLost::Fail => LostPolicy::Fail,
        },
        max_deliveries: settings.max_deliveries.value,
        load_grace: settings.load_grace.value,
        isolation: IsolationSettings {
            mode: settings.isolation.value,
            by_location: settings.isolation_by_location.value.clone(),
            max_steps: settings.max_steps_per_process.value,
            max_memory_mib: settings.max_memory_per_process.value,
        },
        packages: packages::unpack()?,
    })
}

/// Looks for Python in `$VIRTUAL_ENV`, then on PATH.
fn find_python() -> Option<PathBuf> {
    let bin = std::env::var_os("VIRTUAL_ENV").map(|folder| PathBuf::from(folder).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    bin.into_iter()
        .chain(std::env::split_paths(&path))
        .flat_map(|folder| [folder.join("python3"), folder.join("python")])
        .find(|candidate| candidate.is_file())
}

/// View of a worker that has done nothing yet.
pub(in crate::cli) fn view(identity: &WorkerIdentity, settings: &Settings) -> WorkerView {
    let (now, slots) = (Timestamp::now(), settings.slots.value);
    WorkerView {
        id: identity.id.clone(),
        hostname: identity.hostname.clone(),
        pid: std::process::id(),
        version: identity.version.clone(),
        state: WorkerState::Starting,
        steps: Slots {
            range: Some(slots).filter(|slots| !slots.is_fixed()),
            ..Slots::free(slots.min)
        },
        runs: Slots::free(settings.run_slots.value),
        started_at: now,
        heartbeat_at: now,
        clock_behind: 0,
        hosts: Vec::<ForkServerView>::new(),
        queues: Vec::new(),
        shared_name: None,
        finished: 0,
        failed: 0,
        deadline: None,
        dropped_events: 0,
    }
}

async fn log_notices(mut notices: mpsc::Receiver<ForkServerNotice>) {
    use ForkServerNotice as Notice;
    use tracing::warn;
    // Each instance agent of the process says it, also one that was started again.
    let mut is_known_untested = false;
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Ready {
                location,
                pid,
                loaded_ms,
            } => {
                info!("{location} loaded in {loaded_ms} ms (pid {pid})");
            }
            Notice::Isolation {
                location,
                mode,
                reason,
            } => info!("{location}: isolation {mode}; {reason}"),
            Notice::LoadFailed { location, reason } => error!("{location} does not load: {reason}"),
            Notice::Died { location, pid } => {
                warn!("the Python host of {location} (pid {pid}) died; its tasks are looked after");
            }
            Notice::Line { location, line } => info!("{location}: {line}"),
            Notice::VersionDiffers {
                location,
                installed,
            } => warn!(
                "{location}: the Python package dagster_taskiq is {installed}, this binary is {}",
                env!("CARGO_PKG_VERSION")
            ),
            Notice::DagsterUntested { warning } => {
                if !std::mem::replace(&mut is_known_untested, true) {
                    warn!("{warning}");
                }
            }
            // The host logs it with the task's own fields.
            Notice::Canceling { .. } => {}
            Notice::InstanceAgentError { reason } => warn!("{reason}"),
        }
    }
}
