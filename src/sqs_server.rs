//! The embedded, durable SQS-compatible server. HTTP requests ([`http`]) become actions
//! ([`actions`]) on one state machine ([`state`]), owned by one task ([`engine`]) that writes each
//! group of changes to `SQLite` ([`journal`]) before it answers. Only `cli` uses it directly;
//! all other code talks to it as to SQS.

pub mod account;
pub mod actions;
pub mod admin;
pub mod declared;
pub mod digest;
pub mod engine;
pub mod error;
pub mod faults;
pub mod folder;
pub mod guard;
pub mod http;
pub mod journal;
pub mod metrics;
pub mod pattern;
pub mod protocol;
pub mod receipt;
mod serving;
pub mod state;
pub mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;

use declared::Declared;
use engine::Engine;
use faults::Faults;
use folder::DataFolder;
use guard::{Allowed, Guard};
use http::App;
use journal::{Durability, Journal, Loaded};
use protocol::sigv4::KeyPair;
use receipt::ReceiptSealer;
use tls::{TlsError, TlsFiles};
use tokio_rustls::TlsAcceptor;

/// Maximum time open connections may take to end at shutdown. Long polls are answered at once, so
/// only a client that does not read its answer comes near it.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Configuration of a server.
#[derive(Debug, Clone)]
pub struct SqsServerConfig {
    /// Address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Folder of the queues and messages; one process at a time.
    pub data_dir: PathBuf,
    /// Durability of a write when its request is answered.
    pub durability: Durability,
    /// When set, requests must be signed with these keys.
    pub keys: Option<KeyPair>,
    /// Additional hosts and web pages that are allowed.
    pub allowed: Allowed,
    /// When set, connections are encrypted with this certificate.
    pub tls: Option<TlsFiles>,
    /// Queues, templates and faults.
    pub declared: Declared,
}

/// Error that keeps a server from starting, or ends it.
#[derive(Debug, thiserror::Error)]
pub enum SqsServerError {
    /// The address is in use or does not belong to this machine.
    #[error(
        "the broker cannot listen on {listen}: {source}; stop what listens there or choose another \
         address with --listen"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Error reported by the operating system.
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
        /// Error reported by the operating system.
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
    /// The database cannot be opened.
    #[error(
        "the broker cannot read its database {}: {source}; free disk space or repair the folder, \
         or move the file away to start empty", path.display()
    )]
    Database {
        /// The file.
        path: PathBuf,
        /// Error reported by `SQLite`.
        source: rusqlite::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A declared queue cannot be created.
    #[error("the broker cannot make what its configuration file declares: {0}; correct the file")]
    Declared(String),
    /// The operating system refuses to start a thread.
    #[error("the broker cannot start its thread: {0}; raise the limit on processes")]
    Thread(std::io::Error),
    /// A defect ended the engine's thread, and every connection with it.
    #[error(
        "the broker ended because of a defect, which the lines above describe; start it again: \
         what it answered is on disk"
    )]
    Ended,
}

/// A server that listens and is ready to serve.
pub struct SqsServer {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    tls: Option<TlsAcceptor>,
    thread: JoinHandle<()>,
}

impl SqsServer {
    /// Listens, locks the data folder and loads its content.
    ///
    /// # Errors
    /// The address is in use, the folder cannot be used, the database cannot be opened, or a
    /// certificate or a declared queue is refused.
    pub async fn bind(config: SqsServerConfig) -> Result<Self, SqsServerError> {
        let tls = config.tls.as_ref().map(TlsFiles::acceptor).transpose()?;
        config.declared.check().map_err(SqsServerError::Declared)?;
        let listen = config.listen;
        let refuse = |source| SqsServerError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refuse)?;
        let listener = listener.into_std().map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let folder = DataFolder::open(&config.data_dir)?;
        let path = folder.database();
        let open = || {
            let mut journal = Journal::open(&path, config.durability)?;
            journal.load().map(|loaded| (journal, loaded))
        };
        let (journal, Loaded { broker, secret }) =
            open().map_err(|source| SqsServerError::Database {
                path: path.clone(),
                source,
            })?;
        let (engine, thread) = Engine::start(journal, broker).map_err(SqsServerError::Thread)?;
        let listener = {
            let _runtime = engine.runtime().enter();
            TcpListener::from_std(listener).map_err(refuse)?
        };
        let sealer = ReceiptSealer::new(secret);
        let declared = Arc::new(config.declared);
        let queues = declared.clone();
        let made = engine.run(move |broker, now| queues.apply(broker, now));
        made.await
            .map_err(|error| SqsServerError::Declared(error.message))?;
        let app = Arc::new(App {
            engine,
            sealer,
            folder,
            guard: Guard::new(address, config.allowed).over_https(tls.is_some()),
            keys: config.keys,
            address: address.to_string(),
            scheme: if tls.is_some() { "https" } else { "http" },
            faults: Faults::new(declared.faults()),
            declared,
        });
        Ok(Self {
            listener,
            address,
            app,
            tls,
            thread,
        })
    }

    /// `https` with a certificate, else `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.app.scheme
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL clients use as their endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.app.scheme, self.address)
    }

    /// Answers requests until `shutdown` resolves. Then answers long polls at once, lets open
    /// requests end and closes the database.
    ///
    /// # Errors
    /// The engine's thread panicked.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), SqsServerError> {
        let Self {
            listener,
            app,
            tls,
            thread,
            ..
        } = self;
        let engine = app.engine.clone();
        let runtime = engine.runtime().clone();
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let stop = async move {
            // Resolves when the other half is dropped.
            let _: Result<(), _> = stopped.await;
            engine.quiesce().await;
        };
        let server = runtime.spawn(serving::serve(listener, tls, app, stop));
        // Not on the engine's thread: a disk that hangs would delay it there.
        let deadline = async move {
            shutdown.await;
            drop(stopping);
            tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
        };
        tokio::select! {
            ended = server => ended.map_err(|_| SqsServerError::Ended)?,
            () = deadline => {}
        }
        let ended = tokio::task::spawn_blocking(move || thread.join());
        if tokio::time::timeout(Duration::from_secs(1), ended)
            .await
            .is_err()
        {
            tracing::warn!("a client still holds a request open; what it asked for is on disk");
        }
        Ok(())
    }
}

/// Binds and serves until `shutdown` resolves.
///
/// # Errors
/// As [`SqsServer::bind`] and [`SqsServer::serve`].
pub async fn serve(
    config: SqsServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), SqsServerError> {
    SqsServer::bind(config).await?.serve(shutdown).await
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use std::future::pending;

    use super::*;
    use crate::sqs_server::error::{ErrorKind, SqsError};

    #[tokio::test]
    async fn a_defect_in_the_engine_ends_the_server_with_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let server = SqsServer::bind(SqsServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: folder.path().to_owned(),
            durability: Durability::Os,
            keys: None,
            allowed: Allowed::default(),
            tls: None,
            declared: Declared::default(),
        });
        let server = server.await.unwrap();
        let engine = server.app.engine.clone();
        let defect = |_: &mut _, _| -> Result<(), SqsError> { panic!("a defect, on purpose") };
        let refused = engine.run(defect).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::ServiceUnavailable);
        let ended = server.serve(pending()).await;
        assert!(matches!(ended, Err(SqsServerError::Ended)), "{ended:?}");
    }
}
