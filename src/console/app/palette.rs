//! The palette of `:`: command names and their arguments.

use crossterm::event::KeyCode;
use jiff::Timestamp;

use super::overlays::choose;
use super::runs::STATUSES;
use super::{App, Effect};
use crate::console::command::{self, CommandRow};
use crate::console::key::Key;
use crate::console::line::{Input, Typed};
use crate::console::overlay::Overlay;
use crate::console::{fuzzy, labels, view};
use crate::domain::{LogLevel, QueueRole};

/// A suggestion of the palette.
#[derive(Clone, Debug)]
pub(in crate::console) struct Offer {
    /// The command.
    pub row: &'static CommandRow,
    /// An argument; `None` if only the name is suggested.
    pub value: Option<String>,
}

impl Offer {
    /// The line that Tab completes: followed by a space if an argument may follow.
    fn completed(&self) -> String {
        match &self.value {
            Some(value) => format!("{} {value}", self.row.name),
            None if self.row.argument.is_empty() => self.row.name.to_owned(),
            None => format!("{} ", self.row.name),
        }
    }
}

/// A completed line with the reason that was typed after the incomplete one.
fn with_reason(line: &str, typed: &str) -> String {
    match command::split_reason(typed) {
        (_, Some(reason)) => format!("{} --reason {reason}", line.trim_end()),
        (_, None) => line.to_owned(),
    }
}

/// The commands whose names match the typed text, best first.
fn commands(name: &str, own: &[&'static CommandRow]) -> Vec<&'static CommandRow> {
    let name = name.trim_end();
    let all_names = |row: &'static CommandRow| row.names().map(move |name| (name, row));
    let names: Vec<_> = command::all(own).flat_map(all_names).collect();
    let mut ranked: Vec<&'static CommandRow> = Vec::new();
    for index in fuzzy::rank(name, names.iter().map(|(name, _)| *name)) {
        let (_, row) = names[index];
        if !ranked.iter().any(|known| std::ptr::eq(*known, row)) {
            ranked.push(row);
        }
    }
    // A former name selects its command.
    if let Some(row) = command::all(own).find(|row| row.is_named(name)) {
        ranked.retain(|other| other.name != row.name);
        ranked.insert(0, row);
    }
    ranked
}

impl App {
    /// Suggestions of `:` for the typed text, best first.
    pub(in crate::console) fn offers(&self, text: &str) -> Vec<Offer> {
        let named = |row| Offer { row, value: None };
        let (text, _) = command::split_reason(text);
        let Some((row, typed)) = command::split(text, self.view) else {
            let own = self.keymap.own();
            return commands(text, own).into_iter().map(named).collect();
        };
        let values = (row.offers)(self);
        let ranked = fuzzy::rank(typed.trim(), values.iter().map(String::as_str));
        let offers = ranked.into_iter().map(|index| Offer {
            row,
            value: Some(values[index].clone()),
        });
        // The name alone is valid, too, and shows the possible arguments.
        let bare = values.is_empty() || (typed.is_empty() && row.argument.starts_with('['));
        bare.then(|| named(row)).into_iter().chain(offers).collect()
    }

    pub(in crate::console) fn job_names(&self) -> Vec<String> {
        let jobs = self.snapshot.jobs.iter();
        jobs.map(|job| labels::job(job).to_owned()).collect()
    }

    pub(in crate::console) fn location_names(&self) -> Vec<String> {
        let jobs = self.snapshot.jobs.iter();
        let mut known: Vec<String> = jobs.map(|job| job.location.clone()).collect();
        known.sort_unstable();
        known.dedup();
        known
    }

    pub(in crate::console) fn run_statuses(_: &Self) -> Vec<String> {
        let words = STATUSES.map(|(word, _)| word).into_iter();
        words.chain(["all"]).map(str::to_owned).collect()
    }

    pub(in crate::console) fn log_levels(_: &Self) -> Vec<String> {
        LogLevel::ALL
            .map(|level| labels::level(level).to_owned())
            .into()
    }

    pub(in crate::console) fn column_names(&self) -> Vec<String> {
        let titles = self.view.spec().orders().into_iter();
        titles.map(str::to_lowercase).collect()
    }

    pub(in crate::console) fn optional_columns(&self) -> Vec<String> {
        let titles = view::optional_columns(self.view).into_iter();
        titles.map(str::to_lowercase).collect()
    }

    pub(in crate::console) fn filter_names(&self) -> Vec<String> {
        self.saved_filters.keys().cloned().collect()
    }

    pub(in crate::console) fn filter_terms(&self) -> Vec<String> {
        let names = self.saved_filters.keys();
        names.map(|name| format!("@{name}")).collect()
    }

    /// The queues that are no dead-letter queues.
    pub(in crate::console) fn live_queues(&self) -> Vec<String> {
        let queues = self.snapshot.queues.iter();
        let live = queues.filter(|queue| queue.role != QueueRole::DeadLetter);
        live.map(|queue| queue.name.clone()).collect()
    }

    /// The archives in the audit log; those of other hosts, too: a home folder may be shared, and a
    /// wrong path is reported.
    pub(in crate::console) fn archives(&self) -> Vec<String> {
        let entries = self.snapshot.audit.iter();
        let archives = entries.filter_map(|entry| entry.archive.as_ref());
        archives.map(|path| path.display().to_string()).collect()
    }

    pub(super) fn palette_key(
        &mut self,
        key: Key,
        mut input: Input,
        (choice, back): (usize, usize),
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let offered = self.offers(input.text());
        if key.code == KeyCode::Tab {
            if let Some(offer) = offered.get(choice) {
                input = Input::new(with_reason(&offer.completed(), input.text()));
            }
            self.overlay = Some(Overlay::Palette {
                input,
                choice: 0,
                back: 0,
            });
            return;
        }
        let walks_history = (input.text().is_empty() || back > 0) && !self.history.is_empty();
        if walks_history && matches!(key.code, KeyCode::Up | KeyCode::Down) {
            let back = match key.code {
                KeyCode::Up => (back + 1).min(self.history.len()),
                _ => back.saturating_sub(1),
            };
            let line = self
                .history
                .len()
                .checked_sub(back)
                .and_then(|at| self.history.get(at));
            input = Input::new(line.cloned().unwrap_or_default());
            self.overlay = Some(Overlay::Palette {
                input,
                choice: 0,
                back,
            });
            return;
        }
        match input.key(key) {
            Typed::Left => {}
            Typed::Given => {
                let (words, _) = command::split_reason(input.text());
                let line = match offered.get(choice) {
                    Some(offer) if offer.value.is_some() => {
                        with_reason(&offer.completed(), input.text())
                    }
                    Some(offer) if command::split(words, self.view).is_none() => {
                        with_reason(offer.row.name, input.text())
                    }
                    _ => input.text().trim().to_owned(),
                };
                self.run_line(&line, now, effects);
            }
            Typed::Edited => {
                self.overlay = Some(Overlay::Palette {
                    input,
                    choice: 0,
                    back: 0,
                });
            }
            Typed::Other => {
                let choice = choose(key, choice, offered.len());
                self.overlay = Some(Overlay::Palette {
                    input,
                    choice,
                    back,
                });
            }
        }
    }
}
