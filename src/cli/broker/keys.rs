//! The keys with which requests to the broker must be signed.

use std::io;
use std::path::PathBuf;

use clap::Args;
use thiserror::Error;

use crate::domain::secrets::Secret;
use crate::sqs_server::protocol::sigv4::KeyPair;

const ACCESS_KEY_VARIABLE: &str = "DAGSTER_TASKIQ_BROKER_ACCESS_KEY";

/// Variable with the secret, for users who do not want it in a file.
pub(in crate::cli) const SECRET_KEY_VARIABLE: &str = "DAGSTER_TASKIQ_BROKER_SECRET_KEY";

/// Reason why there is no pair of keys.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    #[error(
        "the broker has an access key and no secret for it: give --secret-key-file, or set \
         {SECRET_KEY_VARIABLE}"
    )]
    NoSecret,
    #[error(
        "the broker has a secret key and no access key: give --access-key, or set \
         {ACCESS_KEY_VARIABLE}"
    )]
    NoAccessKey,
    #[error("cannot read the secret key from {}: {source}; check --secret-key-file", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the file {} holds no secret key; write it into its first line", path.display())]
    Empty { path: PathBuf },
}

/// Which requests are answered.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Only answer requests signed with this access key [env: `DAGSTER_TASKIQ_BROKER_ACCESS_KEY`]
    #[arg(long, value_name = "ID")]
    access_key: Option<String>,
    /// File whose first line is the secret of the access key
    #[arg(long, value_name = "FILE", conflicts_with = "secret_key")]
    secret_key_file: Option<PathBuf>,
    /// The secret itself; other users see it on the command line, so use the file or the variable
    /// [env: `DAGSTER_TASKIQ_BROKER_SECRET_KEY`]
    #[arg(long, value_name = "SECRET")]
    secret_key: Option<Secret>,
}

impl KeyArgs {
    /// Returns the key pair from flags, file and environment; `None` if none is set.
    pub fn pair(self) -> Result<Option<KeyPair>, KeyError> {
        let secret = match self.secret_key_file {
            Some(path) => Some(read(path)?),
            None => self
                .secret_key
                .or_else(|| variable(SECRET_KEY_VARIABLE).map(Secret::from)),
        };
        match (
            self.access_key.or_else(|| variable(ACCESS_KEY_VARIABLE)),
            secret,
        ) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(KeyError::NoSecret),
            (None, Some(_)) => Err(KeyError::NoAccessKey),
            (Some(access_key), Some(secret_key)) => Ok(Some(KeyPair {
                access_key,
                secret_key,
            })),
        }
    }
}

fn read(path: PathBuf) -> Result<Secret, KeyError> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(KeyError::File { path, source }),
    };
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(Secret::from(line.to_owned())),
        _ => Err(KeyError::Empty { path }),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
