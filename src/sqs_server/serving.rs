//! Connections: accepted, encrypted if a certificate is configured, and answered until shutdown.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::http::{self, App};

/// Maximum duration of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause when the system has no more file descriptors.
const RECOVERY: Duration = Duration::from_millis(100);

/// Serves until `shutdown` resolves and every connection has had its last answer.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Arc<App>,
    shutdown: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(RECOVERY).await;
                continue;
            }
        };
        // Without it small answers can wait for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let (watcher, tls, app) = (graceful.watcher(), tls.clone(), app.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(stream, watcher, app).await,
                Some(tls) => encrypted(stream, &tls, watcher, app).await,
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn encrypted(stream: TcpStream, tls: &TlsAcceptor, watcher: Watcher, app: Arc<App>) {
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, watcher, app).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on encryption"),
        Err(_) => tracing::debug!("a client took too long to agree on encryption"),
    }
}

async fn connection<S>(stream: S, watcher: Watcher, app: Arc<App>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        http::answer(app.clone(), request.map(Body::new))
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        // The client hung up, or a fault lost the answer.
        tracing::debug!(%error, "a connection ended");
    }
}
