//! `config`: shows the settings with their origins, writes an initial file, and checks a file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::console::LookArgs;
use super::output::out;
use super::worker::StartArgs;
use crate::config::{
    ConfigError, Layer, Origin, Partial, Settings, flow, read_file, sample, schema,
};
use crate::console::theme::{Depth, Theme};
use crate::domain::secrets::redact_value;

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print every setting as a worker or a console with these flags would have it
    Show(Box<ShowArgs>),
    /// Write a file with every setting at its default, and what it means
    Init(InitArgs),
    /// Say all that is wrong with a settings file and with the environment
    Check(CheckArgs),
    /// Print the JSON schema of a settings file, for editors
    Schema,
}

/// Flags of `config show`: those of a worker and of the console.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Say where each value comes from
    #[arg(long)]
    origin: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Dagster's webserver, for runs and launching [env: `DAGSTER_TASKIQ_WEBSERVER_URL`]
    #[arg(long, value_name = "URL")]
    webserver_url: Option<String>,
    #[command(flatten)]
    start: StartArgs,
    #[command(flatten)]
    look: LookArgs,
}

/// Flags of `config init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The file
    #[arg(default_value = "dagster-taskiq.yaml")]
    path: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

/// Flags of `config check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file; without one the environment alone is checked
    file: Option<PathBuf>,
}

/// Errors of the config commands.
#[derive(Debug, Error)]
pub enum ConfigCommandError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file exists.
    #[error("{0} exists: give another path, or --force to write over it")]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Runs a config verb.
///
/// # Errors
/// [`ConfigCommandError`]
pub fn run(verb: ConfigVerb) -> Result<ExitCode, ConfigCommandError> {
    match verb {
        ConfigVerb::Show(args) => show(&args)?,
        ConfigVerb::Init(args) => init(&args)?,
        ConfigVerb::Check(args) => return check(args.file.as_deref()),
        ConfigVerb::Schema => out!("{:#}", schema()),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> Result<(), ConfigError> {
    let flags = Partial {
        webserver_url: args.webserver_url.clone(),
        ..args.look.settings()
    };
    let settings = args.start.settings_with(flags, true)?;
    let shown = settings.shown().map(|(row, value, origin)| {
        let value = redact_value(Some(row.key), &value);
        (row.key, value, origin)
    });
    if args.json {
        let entry = |(key, value, origin): (&'static str, Value, &Origin)| {
            let value = if args.origin {
                json!({"value": value, "origin": origin})
            } else {
                value
            };
            (key.to_owned(), value)
        };
        let settings: Map<String, Value> = shown.map(entry).collect();
        out!("{:#}", Value::Object(settings));
        return Ok(());
    }
    for (key, value, origin) in shown {
        let value = match value {
            Value::Null => String::from("-"),
            value => flow(&value),
        };
        if args.origin {
            out!("{key:24} {value:40} {origin}");
        } else {
            out!("{key:24} {value}");
        }
    }
    Ok(())
}

fn init(args: &InitArgs) -> Result<(), ConfigCommandError> {
    let path = &args.path;
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => ConfigCommandError::Exists(path.clone()),
        _ => ConfigCommandError::Write {
            path: path.clone(),
            source,
        },
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).truncate(args.force);
    options.create(args.force).create_new(!args.force);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(sample().as_bytes()).map_err(failed)?;
    out!(
        "{} has every setting at its default; `-y {}` uses it",
        path.display(),
        path.display()
    );
    Ok(())
}

fn check(path: Option<&Path>) -> Result<ExitCode, ConfigCommandError> {
    let mut wrong = Vec::new();
    let mut layers = Vec::new();
    let mut ignored = Vec::new();
    let shown = path.map_or(String::new(), |path| path.display().to_string());
    match path.map(read_file).transpose() {
        Ok(None) => {}
        Ok(Some(file)) => {
            wrong.extend(file.unusable.iter().map(|it| format!("{shown}, {it}")));
            ignored.extend(file.ignored.iter().map(|it| format!("{shown}, {it}")));
            layers.push(file.layer);
        }
        Err(ConfigError::Invalid { problems, .. }) => {
            wrong.extend(problems.iter().map(|it| format!("{shown}, {it}")));
        }
        Err(other) => return Err(other.into()),
    }
    let (environment, problems) = Layer::environment_and_problems();
    wrong.extend(problems.iter().map(ToString::to_string));
    layers.push(environment);
    match Settings::merge_unchecked(&layers, true) {
        Ok(settings) => {
            // Those of the file, and of the contexts in it, are there with their lines already.
            let is_new = |problem: &ConfigError| match problem {
                ConfigError::BadValue { origin, .. } => {
                    !matches!(origin, Origin::File(..) | Origin::Context(_))
                }
                _ => true,
            };
            let problems = settings.value_problems(&layers).into_iter().filter(is_new);
            // Without a queue URL the base queue has no name yet, and may be the one that is meant.
            let has_base = settings.queue_url.origin != Origin::Default;
            let unknown = settings.unknown_queue().filter(|_| has_base);
            wrong.extend(problems.chain(unknown).map(|problem| problem.to_string()));
            if let Err(problem) = Theme::load(&settings.theme.value, Depth::True) {
                let origin = &settings.theme.origin;
                wrong.push(format!("theme from {origin} cannot be used: {problem}"));
            }
        }
        Err(problem) => wrong.push(problem.to_string()),
    }
    for line in wrong.iter().chain(&ignored) {
        out!("{line}");
    }
    if !wrong.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    match path {
        Some(_) => out!("{shown} can be used"),
        None => out!("the environment can be used"),
    }
    Ok(ExitCode::SUCCESS)
}
