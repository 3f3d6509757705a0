//! `completions` and `man`: the command line as shell completions and as manual pages, made by
//! clap.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

/// Flags of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Flags of `man`.
#[derive(Debug, Args)]
pub struct ManualArgs {
    /// Write a page for each subcommand, too, all into this folder, which is made if need be
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Names of the program; shells complete each by itself.
const NAMES: [&str; 2] = [env!("CARGO_PKG_NAME"), super::FORMER_NAME];

/// The name that the program was called by, or the first one.
fn called_by() -> &'static str {
    let word = std::env::args_os().next().unwrap_or_default();
    let called = Path::new(&word).file_name();
    let mut names = NAMES.into_iter();
    let name = names.find(|name| called == Some(name.as_ref()));
    name.unwrap_or(NAMES[0])
}

/// Prints a shell's completions, for the name that the program was called by.
///
/// # Errors
/// They cannot be written.
pub(super) fn completions(args: &CompletionsArgs) -> io::Result<ExitCode> {
    let mut text = Vec::new();
    let name = called_by();
    let mut command = super::command().name(name);
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    if args.shell == Shell::Bash {
        text = whole_name(name, &text);
    }
    print(&text)
}

/// `clap_complete` 4.6 writes the program's name in two ways if it has hyphens, so that the script
/// does not find its own subcommands (seen: nothing was completed after `worker`).
fn whole_name(name: &str, script: &[u8]) -> Vec<u8> {
    let torn = name.replace('-', "__subcmd__");
    let whole = name.replace('-', "__");
    String::from_utf8_lossy(script)
        .replace(&torn, &whole)
        .into_bytes()
}

/// Prints the manual page of the program, or writes all pages into a folder, which is made.
///
/// # Errors
/// They cannot be written.
pub(super) fn manual(args: &ManualArgs) -> io::Result<ExitCode> {
    let command = super::command();
    if let Some(folder) = &args.dir {
        let made = std::fs::create_dir_all(folder);
        made.and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(|error| {
                let folder = folder.display();
                io::Error::other(format!("cannot write manual pages into {folder}: {error}"))
            })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    print(&text)
}

/// Prints bytes unchanged. A reader that has left is not an error.
fn print(text: &[u8]) -> io::Result<ExitCode> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(ExitCode::SUCCESS),
    }
}
