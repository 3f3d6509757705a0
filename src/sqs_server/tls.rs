//! The certificate that encrypts connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// A certificate and its key, in PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and its intermediates, up to the one that clients trust.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Error in the encryption settings.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has other content.
    #[error("cannot read the {what} in {}: {detail}; give a PEM file with {flag}", path.display())]
    File {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Description of the error.
        detail: String,
        /// The flag that names the file.
        flag: &'static str,
    },
    /// The certificate and the key do not match.
    #[error(
        "the certificate in {} and the key in {} cannot be used: {source}; give the two that were \
         made together", cert.display(), key.display()
    )]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
        /// Error reported by `rustls`.
        source: rustls::Error,
    },
}

impl TlsFiles {
    /// Reads both.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| wrong("private key", &self.key, &error, "--tls-key"))?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|source| TlsError::Pair {
            cert: self.cert.clone(),
            key: self.key.clone(),
            source,
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refuse = |error: &dyn std::fmt::Display| wrong("certificate", path, error, "--tls-cert");
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| refuse(&error))?;
    if chain.is_empty() {
        return Err(refuse(&"there is none"));
    }
    Ok(chain)
}

fn wrong(
    what: &'static str,
    path: &Path,
    error: &dyn std::fmt::Display,
    flag: &'static str,
) -> TlsError {
    TlsError::File {
        what,
        path: path.to_owned(),
        detail: error.to_string(),
        flag,
    }
}
