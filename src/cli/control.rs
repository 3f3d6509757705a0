//! `control proxy`: the command that `attach` runs on the other host. It is not for users: it
//! speaks frames.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::block_on;
use crate::fleet::proxy;
use crate::protocol::audit::AuditLog;
use crate::protocol::socket_folder;

/// Verbs of `control`.
#[derive(Debug, Subcommand)]
pub enum ControlVerb {
    /// Bridge this host's control sockets to standard input and output
    Proxy(ProxyArgs),
}

/// Flags of `control proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Folder of the control sockets [default: the user's runtime folders]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
}

/// The bridge broke.
#[derive(Debug, Error)]
#[error("cannot bridge the control sockets to standard input and output: {0}")]
pub struct ControlCommandError(#[from] io::Error);

/// Runs a verb of `control`.
///
/// # Errors
/// [`ControlCommandError`]
pub fn run(verb: ControlVerb) -> Result<ExitCode, ControlCommandError> {
    let ControlVerb::Proxy(args) = verb;
    let folders = match args.runtime_dir {
        Some(folder) => vec![folder],
        None => every_folder(),
    };
    // Depending on its build, sshd provides pipes or sockets: both are read and written like files.
    let input = own(io::stdin().as_fd())?;
    let output = own(io::stdout().as_fd())?;
    block_on(async {
        proxy::serve(input, output, folders, AuditLog::default_path()).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// A standard stream without the locks and buffers of the standard library.
fn own(stream: BorrowedFd<'_>) -> io::Result<tokio::fs::File> {
    let file = File::from(stream.try_clone_to_owned()?);
    Ok(tokio::fs::File::from_std(file))
}

/// All runtime folders of this user. A command that ssh runs has no session of its own, so the
/// variable with the session's folder may be missing although a login of the same user has it.
fn every_folder() -> Vec<PathBuf> {
    let mut folders = socket_folder::folders();
    let uid = rustix::process::geteuid().as_raw();
    let session = socket_folder::folder_in(&PathBuf::from(format!("/run/user/{uid}")));
    if !folders.contains(&session) {
        folders.push(session);
    }
    folders
}
