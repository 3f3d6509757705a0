//! `alarm test`: sends a made-up alarm, and its end, to the hooks of the settings.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::AlarmError;
use crate::alarms::{self, Sender};
use crate::cli::connection::ConnectionArgs;
use crate::cli::output::out;
use crate::config::{AlarmHook, Partial};
use crate::domain::nearest;
use crate::domain::secrets::redact_text;
use crate::protocol::frames::{own_host, own_name};

/// Flags of `alarm test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Name of a hook [default: all of them]
    hook: Option<String>,
    /// Settings file (YAML) with the hooks, as a worker takes it
    #[arg(short = 'y', long, value_name = "FILE")]
    config_yaml: Option<PathBuf>,
    /// Print JSON, one line a hook
    #[arg(long)]
    json: bool,
}

pub(super) async fn test(args: TestArgs) -> Result<ExitCode, AlarmError> {
    let connection = ConnectionArgs {
        config_yaml: args.config_yaml,
        ..ConnectionArgs::default()
    };
    // Hooks need no queue.
    let settings = connection.settings(Partial::default(), true)?;
    let hooks = chosen(&settings.alarm_hooks.value, args.hook.as_deref())?;
    let sender = Sender::new(own_name(), own_host(), &settings.queue_url.value);
    let mut exit = ExitCode::SUCCESS;
    for hook in hooks {
        let problem = alarms::test_hook(hook, &sender).await.err();
        let problem = problem.map(|problem| redact_text(&problem.to_string()).into_owned());
        if problem.is_some() {
            exit = ExitCode::FAILURE;
        }
        let name = &hook.name;
        if args.json {
            out!("{}", json!({"hook": name, "problem": problem}));
        } else {
            match problem {
                None => out!("{name}: delivered, begin and end"),
                Some(problem) => out!("{name}: not delivered: {problem}"),
            }
        }
    }
    Ok(exit)
}

fn chosen<'a>(
    hooks: &'a [AlarmHook],
    name: Option<&str>,
) -> Result<Vec<&'a AlarmHook>, AlarmError> {
    let found: Vec<_> = hooks
        .iter()
        .filter(|hook| name.is_none_or(|name| hook.name == name))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let near = name.and_then(|name| nearest(name, hooks.iter().map(|hook| hook.name.as_str())));
    Err(AlarmError::NoHook {
        near: near.map_or_else(String::new, |near| format!("; the nearest is {near}")),
        name: name.map_or_else(String::new, |name| format!(" {name}")),
    })
}
