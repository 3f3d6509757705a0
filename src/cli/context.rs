//! `context list`: the deployments that the settings name.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connection::ConnectionArgs;
use super::output::out;
use crate::config::{ConfigError, Context, Partial};
use crate::domain::secrets::redact_text;

/// Verbs of `context`.
#[derive(Debug, Subcommand)]
pub enum ContextVerb {
    /// Print the deployments of the settings file; `*` is the chosen one
    List(ListArgs),
}

/// Flags of `context list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Settings file (YAML)
    #[arg(short = 'y', long, value_name = "FILE")]
    config_yaml: Option<PathBuf>,
    /// Deployment of the settings file to use [env: `DAGSTER_TASKIQ_CONTEXT`]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Runs a context verb.
///
/// # Errors
/// [`ConfigError`]
pub fn run(verb: ContextVerb) -> Result<ExitCode, ConfigError> {
    let ContextVerb::List(args) = verb;
    let connection = ConnectionArgs {
        config_yaml: args.config_yaml,
        context: args.context,
        ..ConnectionArgs::default()
    };
    let settings = connection.settings(Partial::default(), true)?;
    let chosen = settings.context.value.as_deref();
    for (name, context) in &settings.contexts.value {
        let is_current = chosen == Some(name);
        if args.json {
            let mut shown = serde_json::json!({"name": name, "current": is_current});
            shown["settings"] = serde_json::to_value(context).unwrap_or_default();
            out!("{}", redact_text(&shown.to_string()));
        } else {
            let sign = if is_current { "*" } else { " " };
            out!("{sign} {name}: {}", redact_text(&described(context)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Places of its workers, its queue and its webserver.
fn described(context: &Context) -> String {
    let workers = if context.hosts.is_empty() {
        String::from("workers of this host")
    } else {
        format!("workers on {}", context.hosts.join(", "))
    };
    let queue = context.queue_url.as_deref().unwrap_or("no queue");
    let webserver = context.webserver_url.as_deref().unwrap_or("no webserver");
    format!("{workers}; {queue}; {webserver}")
}
