//! A worker's control socket: any number of consoles receive its snapshots and log lines, and send
//! it commands. A slow client misses snapshots and lines, which are counted; it never slows down
//! the worker.

mod connection;
mod feed;
mod socket;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::status_store::Published;
use crate::protocol::audit::AuditLog;
use crate::protocol::frames::{PROTOCOL, ServerHello};
use crate::protocol::{ControlError, Request};

/// Maximum number of consoles: more than ever look at one worker, few enough to bound the memory.
const MAX_CLIENTS: usize = 64;

/// Time limit for the last frames when the worker ends.
const FLUSH: Duration = Duration::from_secs(1);

/// Options of a control socket.
#[derive(Clone, Debug)]
pub struct ControlServerOptions {
    /// Folder of the socket, created with mode 0700:
    /// [`runtime::folder`](crate::protocol::socket_folder::folder).
    pub folder: PathBuf,
    /// Worker id.
    pub worker: String,
    /// Whether to refuse every command that is not safe, from any client.
    pub read_only: bool,
    /// Audit log of disruptive and destructive commands: [`AuditLog::default_path`].
    pub audit: Option<PathBuf>,
    /// Dagster's webserver, for consoles without a configured one.
    pub webserver_url: Option<String>,
}

/// A control socket that is being served. Dropping it ends it at once; [`ControlServer::close`]
/// sends consoles the last state first.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    ending: CancellationToken,
    accepting: Option<JoinHandle<()>>,
}

/// Shared state of all connections.
#[derive(Debug)]
struct Context {
    hello: ServerHello,
    published: Published,
    requests: mpsc::Sender<Request>,
    audit: Option<AuditLog>,
}

impl ControlServer {
    /// Creates the socket (mode 0600), removes those of dead workers, and serves it. Commands go to
    /// `requests`.
    ///
    /// # Errors
    /// The folder is not private, a worker of this name already runs, or the socket cannot be
    /// created.
    pub async fn start(
        options: ControlServerOptions,
        published: Published,
        requests: mpsc::Sender<Request>,
    ) -> Result<Self, ControlError> {
        let ControlServerOptions {
            folder,
            worker,
            read_only,
            audit,
            webserver_url,
        } = options;
        let (listener, path) = socket::bind(folder, worker.clone()).await?;
        let context = Context {
            hello: ServerHello {
                protocol: PROTOCOL,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                worker,
                pid: std::process::id(),
                read_only,
                webserver_url,
            },
            published,
            requests,
            audit: audit.map(AuditLog::new),
        };
        let ending = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, Arc::new(context), ending.clone()));
        Ok(Self {
            path,
            ending,
            accepting: Some(accepting),
        })
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sends every console the last snapshot and log lines, for at most a second, and ends.
    pub async fn close(mut self) {
        // No new console finds the socket while the last ones are served.
        let _ = std::fs::remove_file(&self.path);
        self.ending.cancel();
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.await;
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.ending.cancel();
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn accept(listener: UnixListener, context: Arc<Context>, ending: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_CLIENTS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = ending.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let permit = Arc::clone(&room).try_acquire_owned().ok();
                let context = Arc::clone(&context);
                let ending = ending.child_token();
                connections.spawn(async move {
                    connection::serve(stream, context, permit.is_some(), ending).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Most likely out of descriptors: other connections must end first.
                tracing::warn!("cannot accept a console on the control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let served = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FLUSH, served).await;
}
