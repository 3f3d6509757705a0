//! Access to another host: the user's own `ssh`, with the user's own configuration, keys and agent.
//! It never gets a terminal, so it cannot prompt or write on the screen.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;

use crate::domain::quoted;

/// Command of `ssh`, and of this program on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// The program and its first arguments.
    pub command: Vec<String>,
    /// This program on the other host; a leading `~/` is the user's home there.
    pub program: String,
    /// Folder of the control sockets there; `None` means the folders of the user's sessions and
    /// services.
    pub runtime_dir: Option<PathBuf>,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            command: vec!["ssh".to_owned()],
            program: env!("CARGO_PKG_NAME").to_owned(),
            runtime_dir: None,
        }
    }
}

impl Ssh {
    /// Checks that a host's name can be passed to ssh.
    ///
    /// # Errors
    /// One sentence, if ssh would parse the name as an option or not at all.
    pub fn check_host(host: &str) -> Result<(), String> {
        if host.is_empty() || host.starts_with('-') || host.contains(char::is_whitespace) {
            return Err(format!(
                "`{host}` is no host for ssh; give user@host, or a Host of ~/.ssh/config"
            ));
        }
        Ok(())
    }

    /// The process whose pipes are the link. It is killed when it is dropped. Ctrl-Z and Ctrl-C at
    /// the console's terminal do not reach it.
    #[must_use]
    pub fn start(&self, host: &str) -> Command {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map_or("ssh", String::as_str));
        command
            .args(words)
            .args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "--"])
            .arg(host)
            .arg(self.remote_line())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// The command line for the user's shell on the other host.
    fn remote_line(&self) -> String {
        let mut line = format!("exec {} control proxy", word(&self.program));
        if let Some(folder) = &self.runtime_dir {
            line.push_str(" --runtime-dir ");
            line.push_str(&word(&folder.display().to_string()));
        }
        line
    }
}

/// A word as a shell takes it; a leading `~/` stays the home directory.
fn word(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("~/{}", quoted(rest)),
        None => quoted(path),
    }
}

/// Describes the end of an ssh process in one sentence, from its own output.
#[must_use]
pub fn sentence(host: &str, status: Option<ExitStatus>, stderr: &str) -> String {
    let words = last_words(stderr);
    let advice = advice(host, status, stderr);
    let ended = match (words, status) {
        (Some(words), _) => words.trim_end_matches(['.', '\r']).to_owned(),
        (None, Some(status)) => format!("ssh ended without a word ({status})"),
        (None, None) => "the connection was lost".to_owned(),
    };
    match advice {
        Some(advice) => format!("{ended}; {advice}"),
        None => ended,
    }
}

/// The line with the error: a program's `error:`, otherwise the last line.
fn last_words(stderr: &str) -> Option<&str> {
    let mut lines = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    lines
        .clone()
        .find(|line| line.starts_with("error:"))
        .or_else(|| lines.next_back())
}

/// Advice for the operator, if there is any.
fn advice(host: &str, status: Option<ExitStatus>, stderr: &str) -> Option<String> {
    // Exit code of a shell that cannot find the program.
    const NO_PROGRAM: i32 = 127;
    let contains = |text: &str| stderr.contains(text);
    if contains("Host key verification failed") || contains("host key") {
        Some(format!("run `ssh {host}` once and check its key"))
    } else if contains("Permission denied") || contains("Too many authentication failures") {
        Some("no password is asked here: load a key into your agent".to_owned())
    } else if status.and_then(|status| status.code()) == Some(NO_PROGRAM) {
        Some("install dagster-taskiq-tui there, or name it with --remote-program".to_owned())
    } else if contains("unrecognized subcommand") {
        Some("the version over there is too old to be attached".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_other_host_s_shell_takes_every_word_literally() {
        let ssh = Ssh {
            program: "~/my apps/it's".to_owned(),
            runtime_dir: Some("/run/a b; rm".into()),
            ..Ssh::default()
        };
        let line = r#"exec ~/"my apps/it's" control proxy --runtime-dir '/run/a b; rm'"#;
        assert_eq!(ssh.remote_line(), line);
        let plain = Ssh::default().remote_line();
        assert_eq!(plain, "exec dagster-taskiq-tui control proxy");
    }

    #[test]
    fn a_host_that_ssh_would_take_for_an_option_is_refused() {
        assert_eq!(Ssh::check_host("ann@etl-1"), Ok(()));
        for host in ["", "-oProxyCommand=x", "a b"] {
            assert!(Ssh::check_host(host).is_err(), "{host}");
        }
    }

    #[test]
    fn ssh_s_own_words_become_a_sentence_with_what_to_do() {
        let reason = |stderr: &str| sentence("ann@etl-1", None, stderr);
        assert_eq!(
            reason("No ED25519 host key is known for etl-1.\r\nHost key verification failed.\r\n"),
            "Host key verification failed; run `ssh ann@etl-1` once and check its key"
        );
        assert_eq!(
            reason("ann@etl-1: Permission denied (publickey).\r\n"),
            "ann@etl-1: Permission denied (publickey); no password is asked here: load a key into your agent"
        );
        assert_eq!(
            reason(
                "error: unrecognized subcommand 'control'\n\nFor more information, try '--help'.\n"
            ),
            "error: unrecognized subcommand 'control'; the version over there is too old to be attached"
        );
        assert_eq!(reason(""), "the connection was lost");
        let missing = sentence(
            "ann@etl-1",
            Some(ExitStatus::from_raw(127 << 8)),
            "sh: 1: exec: dagster-taskiq-tui: not found\n",
        );
        assert!(
            missing.ends_with("or name it with --remote-program"),
            "{missing}"
        );
    }
}
