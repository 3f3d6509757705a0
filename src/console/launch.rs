//! The form that describes a run before it is launched.

use std::collections::BTreeSet;

use ratatui_textarea::TextArea;

use super::overlay::Input;
use super::yaml_diagnostics::{self, Mark};
use crate::domain::{AssetKey, ConfigProblem, JobDetail, JobRef, Launch};

/// State of the launch form.
#[derive(Clone, Debug)]
pub struct LaunchForm {
    /// The job.
    pub job: JobRef,
    /// The job's data from Dagster.
    pub detail: Loadable,
    /// The run configuration as edited; `None` is the job's (or the partition's) own.
    pub config: Option<String>,
    /// The partition.
    pub partition: Option<String>,
    /// Configuration of the chosen partition, if known.
    pub partition_config: PartitionConfig,
    /// The assets; an empty set means all.
    pub assets: BTreeSet<AssetKey>,
    /// Run tags, as `key=value` words.
    pub tags: Input,
    /// The row under the cursor.
    pub field: Field,
    /// The part that takes the keys.
    pub part: Part,
    /// Errors that Dagster found in the configuration.
    pub problems: Vec<ConfigProblem>,
    /// Number of the pending request for the chosen assets' data.
    pub renewing: Option<u64>,
    /// Number of the pending request that validates the configuration.
    pub checking: Option<u64>,
}

/// The job's data, as far as known.
#[derive(Clone, Debug)]
pub enum Loadable {
    /// Requested, with this request number.
    Requested(u64),
    /// Received.
    Known(JobDetail),
    /// Refused, with the reason.
    Failed(String),
}

/// The configuration that Dagster has for the chosen partition, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PartitionConfig {
    /// No partition is chosen, or Dagster did not answer: the job's own is shown.
    #[default]
    Unknown,
    /// Requested, with this request number.
    Requested(u64),
    /// Received.
    Known(String),
}

/// A row of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The run configuration.
    Config,
    /// The partition.
    Partition,
    /// The asset selection.
    Assets,
    /// The run tags.
    Tags,
    /// The launch button.
    Launch,
}

/// The part that takes the keys.
#[derive(Clone, Debug)]
pub enum Part {
    /// The form's rows.
    Rows,
    /// The built-in editor.
    Editor(Box<TextArea<'static>>),
    /// A list of choices.
    Pick {
        /// The typed text.
        input: Input,
        /// The chosen row.
        choice: usize,
    },
    /// The input line of the tags, with the previous tags for Esc.
    Tags(Input),
}

impl LaunchForm {
    /// Creates a form for a job whose details were requested.
    #[must_use]
    pub fn new(job: JobRef, request: u64) -> Self {
        Self {
            field: if job.is_all_assets() {
                Field::Assets
            } else {
                Field::Launch
            },
            job,
            detail: Loadable::Requested(request),
            config: None,
            partition: None,
            partition_config: PartitionConfig::default(),
            assets: BTreeSet::new(),
            tags: Input::default(),
            part: Part::Rows,
            problems: Vec::new(),
            renewing: None,
            checking: None,
        }
    }

    /// The job's data from Dagster, if received.
    #[must_use]
    pub fn known(&self) -> Option<&JobDetail> {
        match &self.detail {
            Loadable::Known(detail) => Some(detail),
            _ => None,
        }
    }

    /// The rows of the form, from the top.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        let has = |some: fn(&JobDetail) -> bool| self.known().is_some_and(some);
        let mut fields = vec![Field::Config];
        if has(|detail| !detail.partitions.is_empty()) || self.partition.is_some() {
            fields.push(Field::Partition);
        }
        if has(|detail| !detail.assets.is_empty()) || self.is_assets_only() {
            fields.push(Field::Assets);
        }
        fields.extend([Field::Tags, Field::Launch]);
        fields
    }

    /// The configuration as it would be edited.
    #[must_use]
    pub fn text(&self) -> &str {
        self.config.as_deref().unwrap_or_else(|| self.own())
    }

    /// The configuration without an edit: the partition's, or the job's.
    #[must_use]
    pub fn own(&self) -> &str {
        match &self.partition_config {
            PartitionConfig::Known(text) => text,
            _ => self.known().map_or("", |detail| &detail.default_config),
        }
    }

    /// The lines of a text with errors, found by Dagster or by the YAML parser.
    #[must_use]
    pub fn marks(&self, text: &str) -> Vec<Mark> {
        yaml_diagnostics::marks(text, &self.problems)
    }

    /// Whether the job is Dagster's own over every asset, which is launched for chosen assets only.
    #[must_use]
    pub fn is_assets_only(&self) -> bool {
        self.job.is_all_assets()
    }

    /// The choices of the field under the cursor, as displayed.
    #[must_use]
    pub fn choices(&self) -> Vec<String> {
        let Some(detail) = self.known() else {
            return Vec::new();
        };
        match self.field {
            Field::Partition => detail.partitions.clone(),
            Field::Assets => detail.assets.iter().map(|key| key.join("/")).collect(),
            _ => Vec::new(),
        }
    }

    /// The choices that match the typed text, best first, by their position.
    #[must_use]
    pub fn matching(&self, query: &str) -> Vec<usize> {
        let choices = self.choices();
        super::fuzzy::rank(query, choices.iter().map(String::as_str))
    }

    /// The launch that the form describes.
    ///
    /// # Errors
    /// One sentence: a tag is invalid, or assets must be chosen.
    pub fn launch(&self) -> Result<Launch, String> {
        if self.is_assets_only() && self.assets.is_empty() {
            return Err(String::from("Choose the assets first"));
        }
        let tags = self.run_tags()?;
        Ok(Launch {
            job: self.job.clone(),
            // An emptied text is an empty configuration, not the job's own.
            run_config: match &self.config {
                Some(text) if text.trim().is_empty() => String::from("{}"),
                Some(text) => text.clone(),
                None => String::new(),
            },
            tags,
            partition: self.partition.clone(),
            assets: self.assets.iter().cloned().collect(),
        })
    }

    /// The run tags.
    ///
    /// # Errors
    /// One sentence: a word is not `key=value`.
    pub fn run_tags(&self) -> Result<Vec<(String, String)>, String> {
        let words = self.tags.text().split_whitespace();
        let tag = |word: &str| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("`{word}` is no tag: write key=value")),
        };
        words.map(tag).collect()
    }

    /// The command line with the same effect.
    #[must_use]
    pub fn command_line(&self) -> String {
        let mut line = String::from("run launch");
        let mut add = |word: &str, value: &str| {
            for part in [word, value] {
                if !part.is_empty() {
                    line.push(' ');
                    line.push_str(part);
                }
            }
        };
        if !self.is_assets_only() {
            add(&self.job.job, "");
        }
        add("-l", &self.job.location);
        if self.config.is_some() {
            add("--config", "FILE");
        }
        if let Some(partition) = &self.partition {
            add("--partition", partition);
        }
        for asset in &self.assets {
            add("--asset", &asset.join("/"));
        }
        for tag in self.tags.text().split_whitespace() {
            add("--tag", tag);
        }
        line
    }
}
