//! The thread that starts every Python process.
//!
//! The kernel's parent-death signal follows the thread that forked, not its process. Threads of a
//! pool end at any time, and the hosts would end with them. This thread lives as long as the
//! supervisor.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc as std_mpsc;
use std::thread;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::api::ForkServerSettings;

/// Replaces the first entry of `sys.path`, which `-c` sets to the working directory, by the folder
/// of the host's package. Must equal `BOOTSTRAP` in `main.py`.
const BOOTSTRAP: &str =
    "import sys; sys.path[0] = sys.argv[1]; from _dagster_taskiq_host.main import main; main()";

/// Kind of the process to start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    InstanceAgent,
    Step,
}

/// A started process and our end of its socket.
pub(super) struct Started {
    pub child: Child,
    pub socket: UnixStream,
}

struct Request {
    mode: Mode,
    reply: oneshot::Sender<io::Result<Started>>,
}

/// Handle to the thread.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: std_mpsc::Sender<Request>,
}

impl Spawner {
    /// Starts the thread. Must be called within a tokio runtime.
    pub fn start(settings: &ForkServerSettings) -> io::Result<Self> {
        let (requests, inbox) = std_mpsc::channel::<Request>();
        let recipe = Recipe {
            python: settings.python.clone(),
            dagster_home: settings.dagster_home.clone(),
            host_folder: settings.packages.host.clone(),
            library_folder: settings.packages.library.clone(),
        };
        let runtime = Handle::current();
        thread::Builder::new()
            .name("host-spawner".to_owned())
            .spawn(move || {
                let _context = runtime.enter();
                for request in inbox {
                    // If the caller has gone, the process ends as well: its socket closes.
                    let _ = request.reply.send(recipe.start(request.mode));
                }
            })?;
        Ok(Self { requests })
    }

    /// Starts one process on the thread.
    pub async fn spawn(&self, mode: Mode) -> io::Result<Started> {
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.requests
            .send(Request { mode, reply })
            .map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

struct Recipe {
    python: PathBuf,
    dagster_home: Option<PathBuf>,
    host_folder: PathBuf,
    library_folder: PathBuf,
}

impl Recipe {
    fn start(&self, mode: Mode) -> io::Result<Started> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&self.python);
        // Steps must not see these variables: systemd supervises only the worker.
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command
            .args(["-c", BOOTSTRAP])
            .arg(&self.host_folder)
            .arg(&self.library_folder)
            .arg(match mode {
                Mode::InstanceAgent => "instance-agent",
                Mode::Step => "step",
            })
            .arg(std::process::id().to_string())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(home) = &self.dagster_home {
            command.env("DAGSTER_HOME", home);
        }
        let child = command.spawn()?;
        Ok(Started {
            child,
            socket: UnixStream::from_std(ours)?,
        })
    }
}
