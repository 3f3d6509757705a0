//! Secrets on the command line. Every user of a machine can read the arguments of every process
//! (`ps`), but only the owner can read the environment. So a process that received a secret as an
//! argument replaces itself by one that has it in its environment, and its children inherit that.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use super::broker::SECRET_KEY_VARIABLE;
use super::output::note;
use crate::config::ROWS;
use crate::domain::secrets::redact_text;

/// Flags whose values are or may contain secrets, with the equivalent variables.
fn flags() -> impl Iterator<Item = (&'static str, &'static str)> {
    let settings = ROWS.iter().filter_map(|row| row.flag.zip(row.env));
    settings.chain([("--secret-key", SECRET_KEY_VARIABLE)])
}

/// Arguments without secrets, and the variables that hold the secrets instead.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moved {
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    flags: Vec<&'static str>,
}

/// Removes secrets from this process's arguments, by executing the program again in its place.
pub(super) fn hide_secrets() {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let moved = without_secrets(arguments);
    if moved.flags.is_empty() {
        return;
    }
    for (flag, variable) in flags().filter(|(flag, _)| moved.flags.contains(flag)) {
        let file = if flag == "--secret-key" {
            " or --secret-key-file"
        } else {
            ""
        };
        note!(
            "warning: every user of this machine could read the secret in {flag} until now: set \
             {variable}{file} instead"
        );
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut command = Command::new(program);
    if let Some(name) = name {
        command.arg0(name);
    }
    let problem = command.args(moved.arguments).envs(moved.variables).exec();
    note!("warning: it stays readable while this process runs: {problem}");
}

fn without_secrets(arguments: impl Iterator<Item = OsString>) -> Moved {
    let mut moved = Moved::default();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let (name, value) = split(&argument);
        let known = flags().find(|(flag, _)| name == OsStr::new(flag));
        let value = value.or_else(|| arguments.peek().cloned());
        let (Some((flag, variable)), Some(value)) = (known, value) else {
            moved.arguments.push(argument);
            continue;
        };
        let is_next = name.len() == argument.len();
        if flag == "--secret-key" || holds_a_secret(&value) {
            moved.variables.push((variable, value));
            moved.flags.push(flag);
            if is_next {
                arguments.next();
            }
        } else {
            moved.arguments.push(argument);
            moved
                .arguments
                .extend(is_next.then(|| arguments.next()).flatten());
        }
    }
    moved
}

/// Splits `--name=value` into its two parts.
fn split(argument: &OsStr) -> (&OsStr, Option<OsString>) {
    let bytes = argument.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (
            OsStr::from_bytes(&bytes[..at]),
            Some(OsString::from_vec(bytes[at + 1..].to_vec())),
        ),
        None => (argument, None),
    }
}

fn holds_a_secret(value: &OsStr) -> bool {
    matches!(redact_text(&value.to_string_lossy()), Cow::Owned(_))
}

/// Prints the error in the arguments, as clap does, with secrets redacted.
pub(super) fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match redact_text(&text) {
        Cow::Owned(hidden) if error.use_stderr() => note!("{}", hidden.trim_end()),
        _ => {
            // A closed standard error has no reader, so the failure is ignored.
            let _ = error.print();
        }
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(line: &str) -> (String, Vec<(&'static str, OsString)>) {
        let moved = without_secrets(line.split(' ').map(OsString::from));
        let arguments = moved.arguments.join(OsStr::new(" "));
        (arguments.to_string_lossy().into_owned(), moved.variables)
    }

    #[test]
    fn secrets_become_variables_and_everything_else_stays() {
        for line in [
            "broker serve --access-key a --secret-key s --data-dir d",
            "broker serve --access-key a --secret-key=s --data-dir d",
        ] {
            let (left, variables) = moved(line);
            assert_eq!(left, "broker serve --access-key a --data-dir d");
            assert_eq!(variables, [(SECRET_KEY_VARIABLE, OsString::from("s"))]);
        }
        let (left, variables) = moved("worker start --queue-url http://u:p@h/1/q --workers 2");
        assert_eq!(left, "worker start --workers 2");
        assert_eq!(
            variables,
            [("DAGSTER_TASKIQ_SQS_QUEUE_URL", "http://u:p@h/1/q".into())]
        );
    }

    #[test]
    fn a_line_without_secrets_is_left_alone() {
        for line in [
            "worker start --queue-url http://h:9324/1/q --endpoint-url=http://h",
            "run list --webserver-url http://127.0.0.1:3000",
            "broker serve --secret-key",
            "--webserver-url",
        ] {
            assert_eq!(moved(line), (line.to_owned(), Vec::new()));
        }
    }
}
