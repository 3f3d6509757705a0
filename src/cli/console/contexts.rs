//! The console over a context of the settings, and its way to another one.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::{CommandError, ConsoleArgs, Opened, aggregator_options, print_once, show};
use crate::config::{Context, Settings, state_folder};
use crate::console::{ContextChoice, Exit};
use crate::fleet::AggregatorOptions;
use crate::fleet::ssh::Ssh;

/// Flags of one deployment, which are not for another one.
const OF_ONE: [&str; 6] = [
    "--context",
    "--queue-url",
    "--endpoint-url",
    "--region-name",
    "--webserver-url",
    "--runtime-dir",
];

/// The contexts to choose from.
pub(super) fn choices(settings: &Settings) -> Vec<ContextChoice> {
    let chosen = settings.context.value.as_deref();
    let contexts = settings.contexts.value.iter();
    let choice = |(name, context): (&String, &Context)| ContextChoice {
        name: name.clone(),
        colour: context.colour,
        is_current: chosen == Some(name),
    };
    contexts.map(choice).collect()
}

/// File that keeps order, columns, filters and counts: one for each context, whose queues may have
/// the same names.
pub(super) fn memory(settings: &Settings) -> PathBuf {
    let file = match settings.chosen_context() {
        Some((name, _)) => format!("console-{name}.json"),
        None => String::from("console.json"),
    };
    state_folder().join(file)
}

/// The step after the console's end.
pub(super) fn next(settings: &Settings, exit: Exit) -> Opened {
    let Exit::Context(index) = exit else {
        return Opened::Left;
    };
    let name = settings.contexts.value.keys().nth(index);
    name.map_or(Opened::Left, |name| Opened::Context(name.clone()))
}

/// Opens the console over the hosts of a context; no worker is started.
pub(super) async fn open_remote(
    settings: &Settings,
    args: &ConsoleArgs,
    context: &Context,
) -> Result<Opened, CommandError> {
    for host in &context.hosts {
        Ssh::check_host(host).map_err(CommandError::Host)?;
    }
    let label = match context.hosts.as_slice() {
        [host] => host.clone(),
        hosts => format!("{} hosts", hosts.len()),
    };
    let aggregator = AggregatorOptions {
        hosts: context.hosts.clone(),
        ssh: Ssh {
            runtime_dir: context.runtime_dir.clone(),
            ..Ssh::default()
        },
        ..aggregator_options(settings, Vec::new())
    };
    if args.is_once() {
        print_once(aggregator).await?;
        return Ok(Opened::Left);
    }
    let exit = show(settings, args, aggregator, None, label).await?;
    Ok(next(settings, exit))
}

/// Replaces this process by a console over another context; returns only if that fails. A new
/// process has no link and no data of the old deployment.
pub(super) fn reopen(name: &str) -> CommandError {
    let open = || -> std::io::Result<Infallible> {
        let arguments = without_deployment(std::env::args_os().skip(1));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).args(["--context", name]);
        Err(command.exec())
    };
    match open() {
        Err(source) => CommandError::Context {
            name: name.to_owned(),
            source,
        },
        Ok(never) => match never {},
    }
}

/// The arguments without those that name a deployment.
fn without_deployment(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut parts = argument.as_bytes().splitn(2, |byte| *byte == b'=');
        let name = OsStr::from_bytes(parts.next().unwrap_or_default());
        if argument == "--local-broker" {
            continue;
        }
        if !OF_ONE.iter().any(|flag| name == OsStr::new(flag)) {
            kept.push(argument);
        } else if parts.next().is_none() {
            arguments.next();
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_context_gets_no_flag_of_the_old_deployment() {
        let line = "-y c.yaml --context a --queue-url=http://h/1/q --theme dark --local-broker";
        let kept = without_deployment(line.split(' ').map(OsString::from));
        assert_eq!(kept, ["-y", "c.yaml", "--theme", "dark"]);
    }
}
