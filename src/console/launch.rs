//! The form in which a run is put together before it is launched.

use std::collections::BTreeSet;

use ratatui_textarea::TextArea;

use super::overlay::Input;
use super::places::{self, Mark};
use crate::domain::{AssetKey, ConfigProblem, JobDetail, JobRef, Launch};

/// What is being put together.
#[derive(Clone, Debug)]
pub struct LaunchForm {
    /// The job.
    pub job: JobRef,
    /// What Dagster tells of it.
    pub detail: Told,
    /// The run configuration as edited; `None` is the job's (or the partition's) own.
    pub config: Option<String>,
    /// The partition.
    pub partition: Option<String>,
    /// What is known of its configuration.
    pub partition_config: PartitionConfig,
    /// The assets; none means all.
    pub assets: BTreeSet<AssetKey>,
    /// Run tags, as `key=value` words.
    pub tags: Input,
    /// The row under the cursor.
    pub field: Field,
    /// What lies over the form.
    pub part: Part,
    /// What Dagster found wrong with the configuration.
    pub problems: Vec<ConfigProblem>,
    /// The number of the request that asks again, for the chosen assets.
    pub renewing: Option<u64>,
    /// The number of the request that checks the configuration, while it is under way.
    pub checking: Option<u64>,
}

/// What is known of the job.
#[derive(Clone, Debug)]
pub enum Told {
    /// Asked for, by the request of this number.
    Asked(u64),
    /// Told.
    Known(JobDetail),
    /// Refused, with the reason.
    Failed(String),
}

/// What is known of the configuration that Dagster has for the chosen partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PartitionConfig {
    /// No partition is chosen, or Dagster did not tell: the job's own is shown.
    #[default]
    Unknown,
    /// Asked for, by the request of this number.
    Asked(u64),
    /// Told.
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
    /// Do it.
    Launch,
}

/// What takes the keys.
#[derive(Clone, Debug)]
pub enum Part {
    /// The form's rows.
    Rows,
    /// The built-in editor.
    Editor(Box<TextArea<'static>>),
    /// A list to pick from.
    Pick {
        /// What is typed.
        input: Input,
        /// The chosen row.
        choice: usize,
    },
    /// The tags are being typed; those before, for Esc.
    Tags(Input),
}

impl LaunchForm {
    /// A form for a job whose details were asked for.
    #[must_use]
    pub fn new(job: JobRef, asked: u64) -> Self {
        Self {
            field: if job.is_all_assets() {
                Field::Assets
            } else {
                Field::Launch
            },
            job,
            detail: Told::Asked(asked),
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

    /// What Dagster told of the job.
    #[must_use]
    pub fn known(&self) -> Option<&JobDetail> {
        match &self.detail {
            Told::Known(detail) => Some(detail),
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

    /// The configuration that it has where none is written: the partition's, or the job's.
    #[must_use]
    pub fn own(&self) -> &str {
        match &self.partition_config {
            PartitionConfig::Known(text) => text,
            _ => self.known().map_or("", |detail| &detail.default_config),
        }
    }

    /// The lines of a text that something is wrong with, as far as Dagster said or YAML wants.
    #[must_use]
    pub fn marks(&self, text: &str) -> Vec<Mark> {
        places::marks(text, &self.problems)
    }

    /// Whether the job is Dagster's own over every asset, which is launched for chosen ones only.
    #[must_use]
    pub fn is_assets_only(&self) -> bool {
        self.job.is_all_assets()
    }

    /// What there is to pick from in the field under the cursor, as it is shown.
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

    /// The choices that match what was typed, best first, by their position.
    #[must_use]
    pub fn matching(&self, query: &str) -> Vec<usize> {
        let choices = self.choices();
        super::fuzzy::rank(query, choices.iter().map(String::as_str))
    }

    /// The launch that the form describes.
    ///
    /// # Errors
    /// A tag that is none, or assets that must be chosen: one sentence.
    pub fn launch(&self) -> Result<Launch, String> {
        if self.is_assets_only() && self.assets.is_empty() {
            return Err(String::from("Choose the assets first"));
        }
        let tags = self.run_tags()?;
        Ok(Launch {
            job: self.job.clone(),
            // A text from which everything was taken is no configuration, not the job's own.
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
    /// A word that is none: one sentence.
    pub fn run_tags(&self) -> Result<Vec<(String, String)>, String> {
        let words = self.tags.text().split_whitespace();
        let tag = |word: &str| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("`{word}` is no tag: write key=value")),
        };
        words.map(tag).collect()
    }

    /// The command line that does the same.
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
