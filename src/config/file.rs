//! The YAML file (`-y`, `--config-yaml`).

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::partial::Partial;
use crate::domain::secrets::redact_text;

/// Why settings could not be used. One sentence each: what was tried, on what, what to do.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}; check the path given with -y")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be. The parser's text names line and column.
    #[error("the configuration file {path} cannot be used: {problem}; correct that line")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column.
        problem: String,
    },
    /// A value, wherever it came from, is not usable.
    #[error("{name} from {origin} cannot be used: {problem}")]
    BadValue {
        /// The setting.
        name: &'static str,
        /// Where it came from.
        origin: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A worker without a queue would idle silently.
    #[error(
        "no queue is configured: set queue_url in the file given with -y, \
         DAGSTER_TASKIQ_SQS_QUEUE_URL or --queue-url, or pass --local-broker to use the embedded \
         broker at {embedded}"
    )]
    NoQueue {
        /// Endpoint of the embedded broker.
        embedded: &'static str,
    },
}

/// The form that Dagster's own run configuration has: the same keys under `execution: config:`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nested {
    execution: Execution,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Execution {
    config: Partial,
}

/// Reads a settings file, flat or under `execution: config:`.
///
/// # Errors
/// [`ConfigError`]; an unknown key or a value of the wrong type is named with its line.
pub fn read_file(path: &Path) -> Result<Partial, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|e| ConfigError::Invalid {
        path: path.to_owned(),
        problem: without_values(&e.to_string()),
    })
}

/// What the parser says, without the value it does not like: that may be a secret.
fn without_values(problem: &str) -> String {
    static QUOTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"(?s)(invalid (?:type|value): \w[\w -]*?|unknown variant) (?:"(?:[^"\\]|\\.)*"|`.*?`)"#).ok()
    });
    let without = match QUOTED.as_ref() {
        Some(quoted) => quoted.replace_all(problem, "$1"),
        None => "a value has the wrong type".into(),
    };
    redact_text(&without).into_owned()
}

/// Reads a YAML text; an empty one is the default.
///
/// # Errors
/// The parser's words, without the value it does not like; an unknown key or a value of the wrong
/// type is named with its line.
pub fn parse_yaml<T: DeserializeOwned + Default>(text: &str) -> Result<T, String> {
    serde_yaml::from_str::<Option<T>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|error| without_values(&error.to_string()))
}

fn parse(text: &str) -> Result<Partial, serde_yaml::Error> {
    match serde_yaml::from_str::<serde_yaml::Value>(text)? {
        serde_yaml::Value::Null => Ok(Partial::default()),
        value if value.get("execution").is_some() => {
            serde_yaml::from_str::<Nested>(text).map(|nested| nested.execution.config)
        }
        _ => serde_yaml::from_str(text),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse("workers: 4\nregion_nme: eu-west-1\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("region_nme") && error.contains("line 2"),
            "{error}"
        );
    }

    #[test]
    fn the_keys_may_stand_under_execution_config_as_in_dagster() {
        let nested = "execution:\n  config:\n    queue_url: http://q/1/tasks\n    workers: 3\n";
        let partial = parse(nested).unwrap();
        assert_eq!(partial.queue_url.as_deref(), Some("http://q/1/tasks"));
        assert_eq!(partial.workers, Some(3));
        let error = parse("execution:\n  config:\n    wrokers: 3\n")
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("wrokers") && error.contains("line 3"),
            "{error}"
        );
    }

    #[test]
    fn a_string_may_come_from_the_environment_as_in_dagster() {
        let partial = parse("queue_url: {env: PATH}\n").unwrap();
        assert_eq!(partial.queue_url, std::env::var("PATH").ok());
        let error = parse("queue_url: {env: DTQ_NO_SUCH}\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("DTQ_NO_SUCH is not set"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_by_its_place_and_not_quoted() {
        for yaml in [
            "workers: s3cr3t-value\n",
            "on_worker_lost: s3cr3t-value\n",
            "queues: 's3cr3t \"-value'\n",
            "queues: {a: [s3cr3t-value]}\nworkers: 's3cr3t-value'\n",
            "endpoint_url: [s3cr3t-value]\nring: s3cr3t-value",
            "s3cr3t-value",
        ] {
            let problem = parse(yaml).unwrap_err().to_string();
            let shown = without_values(&problem);
            assert!(!shown.contains("s3cr3t"), "{problem} became {shown}");
        }
        let problem = parse("workers: s3cr3t-value\n").unwrap_err().to_string();
        let shown = without_values(&problem);
        assert!(
            shown.contains("workers") && shown.contains("line 1"),
            "{shown}"
        );
    }

    #[test]
    fn an_empty_file_is_no_settings() {
        assert_eq!(parse("# nothing yet\n").unwrap(), Partial::default());
    }
}
