//! The embedded, durable SQS-compatible server. HTTP requests ([`http`]) become actions
//! ([`actions`]) on one state machine ([`state`]), owned by one thread ([`engine`]) that writes
//! each group of changes to `SQLite` ([`journal`]) before it answers. Used by `cli` alone; everybody
//! else speaks to it as to SQS.

pub mod actions;
pub mod admin;
pub mod digest;
pub mod engine;
pub mod error;
pub mod folder;
pub mod guard;
pub mod http;
pub mod journal;
pub mod protocol;
pub mod receipt;
pub mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use engine::Engine;
use folder::DataFolder;
use guard::{Allowed, Guard};
use http::App;
use journal::{Durability, Journal, Loaded};
use protocol::sigv4::KeyPair;
use receipt::ReceiptSealer;

/// How long open connections may take to end once the server is told to stop. Long polls are
/// answered at once, so only a client that does not read its answer gets near it.
const GOODBYE: Duration = Duration::from_secs(3);

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct LocalBrokerConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where queues and messages are kept; one process at a time.
    pub data_dir: PathBuf,
    /// How sure a write is before its request is answered.
    pub durability: Durability,
    /// When set, requests must be signed with these keys.
    pub keys: Option<KeyPair>,
    /// Hosts and web pages that are let in, besides the usual ones.
    pub allowed: Allowed,
}

/// Why a server does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LocalBrokerError {
    /// The address is taken or not ours.
    #[error(
        "the broker cannot listen on {listen}: {source}; stop what listens there or choose another \
         address with --listen"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder cannot be made or written to.
    #[error(
        "the broker cannot use its data folder {}: {source}; make it writable or choose another \
         with --data-dir", path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process holds the folder.
    #[error(
        "the broker cannot use its data folder {}: another broker process is using it; stop that \
         one or choose another folder with --data-dir", path.display()
    )]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The database does not open.
    #[error(
        "the broker cannot read its database {}: {source}; free disk space or repair the folder, \
         or move the file away to start empty", path.display()
    )]
    Database {
        /// The file.
        path: PathBuf,
        /// What `SQLite` says.
        source: rusqlite::Error,
    },
    /// The system has no thread to give.
    #[error("the broker cannot start its thread: {0}; raise the limit on processes")]
    Thread(std::io::Error),
    /// The server ended by an error.
    #[error("the broker's listener failed: {0}; start it again")]
    Server(std::io::Error),
}

/// A server that listens and is ready to serve.
#[derive(Debug)]
pub struct LocalBroker {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    thread: JoinHandle<()>,
}

impl LocalBroker {
    /// Listens, takes the data folder and reads what it holds.
    ///
    /// # Errors
    /// A taken address, a folder that cannot be used, a database that does not open.
    pub async fn bind(config: LocalBrokerConfig) -> Result<Self, LocalBrokerError> {
        let listen = config.listen;
        let refuse = |source| LocalBrokerError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let folder = DataFolder::open(&config.data_dir)?;
        let path = folder.database();
        let open = || {
            let mut journal = Journal::open(&path, config.durability)?;
            journal.load().map(|loaded| (journal, loaded))
        };
        let (journal, Loaded { broker, secret }) =
            open().map_err(|source| LocalBrokerError::Database {
                path: path.clone(),
                source,
            })?;
        let (engine, thread) = Engine::start(journal, broker).map_err(LocalBrokerError::Thread)?;
        let sealer = ReceiptSealer::new(secret);
        let app = Arc::new(App {
            engine,
            sealer,
            folder,
            guard: Guard::new(address, config.allowed),
            keys: config.keys,
            address: address.to_string(),
        });
        Ok(Self {
            listener,
            address,
            app,
            thread,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL clients use as their endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers requests until `shutdown` is done; then answers long polls at once, lets open
    /// requests end and closes the database.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), LocalBrokerError> {
        let Self {
            listener,
            app,
            thread,
            ..
        } = self;
        let listener = listener.tap_io(|connection| {
            // Without it small answers can wait for the client's delayed acknowledgement.
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was refused");
            }
        });
        let engine = app.engine.clone();
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let signal = async move {
            shutdown.await;
            engine.quiesce();
            drop(stopping);
        };
        let server = axum::serve(listener, http::router(app)).with_graceful_shutdown(signal);
        let patience = async {
            // Resolves when the other half is dropped.
            let _: Result<(), _> = stopped.await;
            tokio::time::sleep(GOODBYE).await;
        };
        let outcome = tokio::select! {
            outcome = server.into_future() => outcome.map_err(LocalBrokerError::Server),
            () = patience => Ok(()),
        };
        let ended = tokio::task::spawn_blocking(move || thread.join());
        if tokio::time::timeout(Duration::from_secs(1), ended)
            .await
            .is_err()
        {
            tracing::warn!("a client still holds a request open; what it asked for is on disk");
        }
        outcome
    }
}

/// Binds and serves until `shutdown` is done.
///
/// # Errors
/// As [`LocalBroker::bind`] and [`LocalBroker::serve`].
pub async fn serve(
    config: LocalBrokerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), LocalBrokerError> {
    LocalBroker::bind(config).await?.serve(shutdown).await
}
