//! The command `dagster-taskiq`: the program `dagster-taskiq-tui` under the older system's name.
//!
//! It is a program and not a script, so that every way of installing brings it: a wheel, an sdist
//! (whose files keep no right to be executed) and `cargo install`.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const PROGRAM: &str = "dagster-taskiq-tui";
const NAME: &str = "dagster-taskiq";

/// Becomes the program, with the same arguments: signals and exit codes are the program's.
fn main() -> ExitCode {
    let beside = beside();
    let program = beside.clone().unwrap_or_else(|| PROGRAM.into());
    let error = Command::new(&program)
        .arg0(NAME)
        .args(std::env::args_os().skip(1))
        .exec();
    if beside.is_none() && error.kind() == std::io::ErrorKind::NotFound {
        eprintln!("{PROGRAM} is neither beside {NAME} nor on PATH: install {PROGRAM} again");
    } else {
        let program = program.display();
        eprintln!("cannot run {program}: {error}; install {PROGRAM} again");
    }
    ExitCode::FAILURE
}

/// The program in this one's folder, links resolved; without it `PATH` is searched.
fn beside() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(PROGRAM);
    path.is_file().then_some(path)
}
