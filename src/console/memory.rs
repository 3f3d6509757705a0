//! What a console remembers for the next one: order, columns, filters, what was typed, and a day of
//! counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::app::App;
use super::days::Days;
use super::filter::Filter;
use super::rows::{Sort, columns};
use super::view::View;
use crate::domain::LogLevel;

/// Lines of the palette's history kept.
const LINES: usize = 100;

/// What is kept of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewMemory {
    filter: String,
    /// Title of the column, and whether largest first.
    sort: Option<(String, bool)>,
    hidden: BTreeSet<String>,
    narrow: bool,
}

/// What is kept, as its file holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    views: BTreeMap<String, ViewMemory>,
    log_level: Option<LogLevel>,
    history: Vec<String>,
    mouse: bool,
    waiting: Days,
}

impl Memory {
    /// Reads the file; nothing is remembered where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not what a console wrote.
    pub fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file, for its owner alone, whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be made, or the file not written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // One of several consoles on a host: they must not write the same file at once.
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&text)?;
        fs::rename(&beside, path)
    }
}

impl App {
    /// What the next console should know.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let views = View::ALL.into_iter().map(|view| {
            let list = &self.lists[view.index()];
            let title = |sort: Sort| {
                Some((
                    (*columns(view).get(sort.column)?).to_owned(),
                    sort.descending,
                ))
            };
            // Not the one for a single run or step.
            let way_in = self.trail().iter().find(|place| place.entered == view);
            let filter = way_in.map_or(&list.filter, |place| &place.filter);
            let memory = ViewMemory {
                filter: filter.text().to_owned(),
                sort: list.sort.and_then(title),
                hidden: list.hidden.clone(),
                narrow: list.narrow,
            };
            (view.title().to_lowercase(), memory)
        });
        let skip = self.history.len().saturating_sub(LINES);
        Memory {
            views: views.collect(),
            log_level: Some(self.logs.level),
            history: self.history[skip..].to_vec(),
            mouse: self.mouse,
            waiting: self.waiting.clone(),
        }
    }

    /// Takes up what an earlier console remembered. What does not exist any more is left out.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.mouse = memory.mouse;
        for view in View::ALL {
            let Some(known) = memory.views.get(&view.title().to_lowercase()) else {
                continue;
            };
            let list = &mut self.lists[view.index()];
            list.filter = Filter::parse(&known.filter);
            list.sort = known.sort.as_ref().and_then(|(title, descending)| {
                let column = columns(view).iter().position(|column| column == title)?;
                let descending = *descending;
                Some(Sort { column, descending })
            });
            list.hidden.clone_from(&known.hidden);
            list.narrow = known.narrow;
            list.stale = true;
        }
        self.logs.level = memory.log_level.unwrap_or(self.logs.level);
        self.history = memory.history;
        self.waiting = memory.waiting;
        self
    }
}
