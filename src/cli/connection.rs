//! The flags for queue, endpoint and instance: shared by workers, queue commands and the console.

use std::path::PathBuf;

use clap::Args;

use super::output::note;
use crate::config::{ConfigError, Layer, Partial, Settings, read_file};

/// Where the queue is.
#[derive(Clone, Debug, Default, Args)]
pub struct ConnectionArgs {
    /// Settings file (YAML)
    #[arg(short = 'y', long, value_name = "FILE")]
    pub config_yaml: Option<PathBuf>,
    /// URL of the base queue [env: `DAGSTER_TASKIQ_SQS_QUEUE_URL`]
    #[arg(long, value_name = "URL")]
    pub queue_url: Option<String>,
    /// SQS endpoint other than AWS's own [env: `DAGSTER_TASKIQ_SQS_ENDPOINT_URL`]
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Deployment of the settings file to use [env: `DAGSTER_TASKIQ_CONTEXT`]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// AWS region [env: `AWS_REGION`, `AWS_DEFAULT_REGION`]
    #[arg(long, value_name = "REGION")]
    pub region_name: Option<String>,
    /// With no queue configured, use the embedded broker at <http://127.0.0.1:9324>
    #[arg(long)]
    pub local_broker: bool,
}

impl ConnectionArgs {
    /// Merges defaults, file, environment and `flags` (which these flags are added to).
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn settings(&self, flags: Partial, local_broker: bool) -> Result<Settings, ConfigError> {
        let mut layers = Vec::with_capacity(3);
        if let Some(path) = &self.config_yaml {
            let file = read_file(path)?;
            for ignored in &file.ignored {
                note!("note: {}, {ignored}", path.display());
            }
            layers.push(file.layer);
        }
        layers.push(Layer::environment()?);
        layers.push(Layer::flags(self.add_to(flags)));
        Settings::merge(&layers, local_broker || self.local_broker)
    }

    /// Adds these flags to others.
    #[must_use]
    pub fn add_to(&self, flags: Partial) -> Partial {
        Partial {
            context: self.context.clone(),
            queue_url: self.queue_url.clone(),
            endpoint_url: self.endpoint_url.clone(),
            region_name: self.region_name.clone(),
            ..flags
        }
    }
}
