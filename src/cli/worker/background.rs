//! `worker start --background`: starts a worker in a session of its own and waits until it is
//! ready.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::{RunArgs, WorkerError};
use crate::cli::child::{self, ChildError, READY};
use crate::cli::output::out;
use crate::config::{flag_with, state_folder};
use crate::fleet::wait_for_socket;
use crate::protocol::ControlError;
use crate::protocol::frames::own_host;
use crate::protocol::socket_folder::{self, is_live};

/// Starts the worker, waits until it greets, and prints the paths of its pid file and its log.
pub(super) async fn start(args: RunArgs) -> Result<ExitCode, WorkerError> {
    let RunArgs {
        start: args, json, ..
    } = args;
    let settings = args.settings()?;
    let folder = state_folder();
    child::make_folder(&folder)?;
    let runtime_folder = args
        .runtime_dir
        .clone()
        .unwrap_or_else(socket_folder::folder);
    let name = settings.name.value.clone();
    if let Some(name) = &name {
        let path = socket_folder::socket_path(&runtime_folder, name);
        // Its log must not be overwritten.
        if is_live(&path) {
            let worker = name.clone();
            return Err(ControlError::Taken { worker, path }.into());
        }
    }
    let mut words = vec!["worker".into(), "start".into()];
    words.extend(args.to_words(name.as_deref(), false));
    words.push(flag_with("--pid-file", &folder));
    // Without a name the worker makes one from its pid, which is not known yet.
    let starting = || format!("starting-{}", std::process::id());
    let first = Files::of(&folder, &name.clone().unwrap_or_else(starting)).log;
    let mut worker = child::spawn(&words, &first, "worker")?;
    let own = || format!("{}-{}", own_host(), worker.id().unwrap_or_default());
    let id = name.unwrap_or_else(own);
    let mut files = Files::of(&folder, &id);
    if first != files.log && std::fs::rename(&first, &files.log).is_err() {
        files.log = first;
    }
    let socket = socket_folder::socket_path(&runtime_folder, &id);
    ready(&mut worker, &socket, &files).await?;
    if json {
        let line = serde_json::json!({"worker": id, "pid": worker.id(),
            "pid_file": files.pid, "log": files.log, "socket": socket});
        out!("{line}");
    } else {
        let (pid, log) = (files.pid.display(), files.log.display());
        out!("worker {id} runs in the background\npid file {pid}\nlog file {log}");
    }
    Ok(ExitCode::SUCCESS)
}

struct Files {
    pid: PathBuf,
    log: PathBuf,
}

impl Files {
    /// Paths of a worker's files. They are named like the control socket, so any id is a valid file
    /// name.
    fn of(folder: &Path, id: &str) -> Self {
        let socket = socket_folder::socket_path(folder, id);
        Self {
            pid: socket.with_extension("pid"),
            log: socket.with_extension("err"),
        }
    }
}

/// Waits until the worker greets and its pid is written. A late worker keeps running.
async fn ready(worker: &mut Child, socket: &Path, files: &Files) -> Result<(), ChildError> {
    let log = &files.log;
    let late = || ChildError::Late {
        what: "worker",
        log: log.clone(),
    };
    let up = async {
        wait_for_socket(socket, READY).await.map_err(|_| late())?;
        // The pid is written a moment later.
        while !files.pid.exists() {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    tokio::select! {
        up = timeout(READY, up) => up.unwrap_or_else(|_| Err(late())),
        _ = worker.wait() => Err(ChildError::Ended {
            what: "worker",
            reason: child::last_line(log),
        }),
    }
}
