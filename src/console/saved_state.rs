//! State saved for the next console: order, columns, filters, entered lines, and a day of counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::app::App;
use super::depth_history::DepthHistory;
use super::filter::Filter;
use super::rows::Sort;
use super::view::View;
use crate::domain::LogLevel;

/// Maximum number of kept lines of the palette's history.
const LINES: usize = 100;

/// Saved state of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedView {
    filter: String,
    /// Title of the column, and whether largest first.
    sort: Option<(String, bool)>,
    hidden: BTreeSet<String>,
    narrow: bool,
}

/// Saved state, as in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedState {
    views: BTreeMap<String, SavedView>,
    log_level: Option<LogLevel>,
    history: Vec<String>,
    /// Filters by name.
    filters: BTreeMap<String, String>,
    mouse: bool,
    waiting: DepthHistory,
}

impl SavedState {
    /// Reads the file; a missing file gives an empty state.
    ///
    /// # Errors
    /// The file cannot be read, or was not written by a console.
    pub fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file atomically; only its owner can read it.
    ///
    /// # Errors
    /// The folder cannot be created, or the file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Several consoles on a host must not write the same file at once.
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
    /// The state to save for the next console.
    #[must_use]
    pub fn memory(&self) -> SavedState {
        let views = View::ALL.into_iter().map(|view| {
            let list = &self.lists[view.index()];
            let title = |sort: Sort| {
                Some((
                    (*view.spec().orders().get(sort.column)?).to_owned(),
                    sort.descending,
                ))
            };
            // The filter of the view itself, not the one for a single run or step.
            let way_in = self.trail().iter().find(|place| place.entered == view);
            let filter = way_in.map_or(&list.filter, |place| &place.filter);
            let memory = SavedView {
                filter: filter.text().to_owned(),
                sort: list.sort.and_then(title),
                hidden: list.hidden.clone(),
                narrow: list.narrow,
            };
            (view.title().to_lowercase(), memory)
        });
        let skip = self.history.len().saturating_sub(LINES);
        SavedState {
            views: views.collect(),
            log_level: Some(self.logs.level),
            history: self.history[skip..].to_vec(),
            filters: self.saved_filters.clone(),
            mouse: self.mouse,
            waiting: self.waiting.clone(),
        }
    }

    /// Restores an earlier console's saved state. Parts that no longer exist are ignored.
    #[must_use]
    pub fn with_memory(mut self, memory: SavedState) -> Self {
        self.mouse = memory.mouse;
        self.saved_filters = memory.filters;
        for view in View::ALL {
            let Some(known) = memory.views.get(&view.title().to_lowercase()) else {
                continue;
            };
            let list = &mut self.lists[view.index()];
            list.filter = Filter::with_saved(&known.filter, &self.saved_filters);
            list.sort = known.sort.as_ref().and_then(|(title, descending)| {
                let orders = view.spec().orders();
                let column = orders.iter().position(|order| order == title)?;
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
