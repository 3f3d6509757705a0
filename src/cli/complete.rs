//! `completions` and `man`: the command line as shell completions and as manual pages, made by
//! clap.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
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
    /// Write a page for each subcommand, too, all into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints a shell's completions.
///
/// # Errors
/// They cannot be written.
pub(super) fn completions(args: &CompletionsArgs) -> io::Result<ExitCode> {
    let mut text = Vec::new();
    let mut command = super::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    if args.shell == Shell::Bash {
        text = whole_name(&text);
    }
    print(&text)
}

/// `clap_complete` 4.6 writes the program's name in two ways if it has hyphens, so that the script
/// does not find its own subcommands (seen: nothing was completed after `worker`).
fn whole_name(script: &[u8]) -> Vec<u8> {
    let name = env!("CARGO_PKG_NAME");
    let torn = name.replace('-', "__subcmd__");
    let whole = name.replace('-', "__");
    String::from_utf8_lossy(script)
        .replace(&torn, &whole)
        .into_bytes()
}

/// Prints the manual page of the program, or writes all pages.
///
/// # Errors
/// They cannot be written.
pub(super) fn manual(args: &ManualArgs) -> io::Result<ExitCode> {
    let command = super::command();
    if let Some(folder) = &args.dir {
        clap_mangen::generate_to(command, folder)?;
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
