//! From a key or a `:` line to a command of the table, and the functions of commands that only
//! change the console.

use crossterm::event::KeyCode;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{App, Effect};
use crate::console::command::{self, CommandRow, Motion, Verb};
use crate::console::dump::Form;
use crate::console::filter::Filter;
use crate::console::key::Key;
use crate::console::keymap::Meaning;
use crate::console::labels;
use crate::console::overlay::{Input, Overlay};
use crate::console::rows::{self, Sort};
use crate::console::theme::{BUILT_IN, Depth, Theme};
use crate::console::toast::Tone;
use crate::console::view::View;
use crate::domain::{Danger, LogLevel};

impl App {
    pub(super) fn key(&mut self, key: Key, now: Timestamp, effects: &mut Vec<Effect>) {
        if key.alt && !self.knows_chord(key) {
            // Esc followed quickly by a key has the same bytes as Alt with that key.
            let plain = Key { alt: false, ..key };
            for key in [Key::plain(KeyCode::Esc), plain] {
                self.key(key, now, effects);
            }
            return;
        }
        let mut keys = std::mem::take(&mut self.pending);
        if self.overlay.is_some() {
            keys.clear();
        }
        let waited = !keys.is_empty();
        keys.push(key);
        let command = match self.keymap.meaning(&keys, self.view) {
            Meaning::Command(row) => Some(row),
            Meaning::Begun if self.overlay.is_none() => {
                self.pending = keys;
                return;
            }
            // Esc, or a key without a meaning, cancels a sequence and does nothing else.
            _ if waited => return,
            _ => None,
        };
        // These two must work under any overlay.
        let always = command.filter(|row| matches!(row.verb, Verb::Suspend | Verb::Redraw));
        if let Some(row) = always {
            self.perform(row, "", now, effects);
        } else if self.overlay.is_some() {
            self.overlay_key(key, now, effects);
        } else if let Some(row) = command {
            self.perform(row, "", now, effects);
        }
    }

    fn knows_chord(&self, key: Key) -> bool {
        let mut keys = self.pending.clone();
        keys.push(key);
        let overlay = self.overlay.as_ref();
        let finds = self.page_find.as_ref().is_some_and(|find| find.is_typed);
        (finds && Input::takes_chord(key))
            || overlay.is_some_and(|overlay| overlay.takes_chord(key))
            || !matches!(self.keymap.meaning(&keys, self.view), Meaning::Nothing)
    }

    /// Carries out a `:` line.
    pub(super) fn run_line(&mut self, line: &str, now: Timestamp, effects: &mut Vec<Effect>) {
        if line.is_empty() {
            return;
        }
        self.history.retain(|known| known != line);
        self.history.push(line.to_owned());
        let (words, reason) = command::split_reason(line);
        let own = self.keymap.own();
        let found = command::of_line(words, self.view, own);
        // What changes nothing takes no reason: the words may be a text to search.
        let takes = |row: &CommandRow| reason.is_none() || row.danger != Danger::Safe;
        let (found, reason) = match found {
            Some((row, _)) if takes(row) => (found, reason),
            _ => (command::of_line(line, self.view, own), None),
        };
        match found {
            None => self.toast(
                Tone::Failed,
                format!("There is no command `{line}`: press ? for a list"),
                now,
            ),
            Some((row, _)) if !row.scope.covers(self.view) => {
                let (name, place) = (row.name, row.shown_scope());
                self.toast(Tone::Failed, format!("`{name}` works in: {place}"), now);
            }
            Some((row, argument)) => {
                let reason = reason.filter(|reason| !reason.is_empty());
                let (argument, reason) = (argument.trim(), reason.map(str::to_owned));
                self.perform_because(row, argument, reason, now, effects);
            }
        }
    }

    pub(super) fn perform(
        &mut self,
        row: &CommandRow,
        argument: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.perform_because(row, argument, None, now, effects);
    }

    fn perform_because(
        &mut self,
        row: &CommandRow,
        argument: &str,
        reason: Option<String>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        // A redraw under a dialog leaves the reason of the dialog's command.
        if !matches!(row.verb, Verb::Suspend | Verb::Redraw) {
            self.given_reason = reason;
        }
        if self.setup.read_only && row.danger != Danger::Safe {
            self.toast(
                Tone::Failed,
                format!("Read-only: `{}` is refused", row.name),
                now,
            );
            return;
        }
        match row.verb {
            Verb::Run(handler) => handler(self, argument, now, effects),
            Verb::Show(view) => self.go_to(view, effects),
            Verb::Move(motion) => {
                self.move_cursor(motion);
                self.load_at_end(motion, now, effects);
            }
            Verb::Open => self.open(effects),
            Verb::Back => self.back(effects),
            Verb::Copy => self.copy(now, effects),
            Verb::Alarms => self.list_alarms(),
            Verb::Acknowledge => self.acknowledge(None, argument, now, effects),
            Verb::Help => self.overlay = Some(Overlay::Help { scroll: 0 }),
            Verb::Plugin(number) => self.run_plugin(number, now, effects),
            Verb::Redraw => effects.push(Effect::Redraw),
            Verb::Suspend => effects.push(Effect::Suspend),
            Verb::Quit if self.warns_of_batch(now) => {}
            Verb::Quit => self.quit(effects),
        }
    }

    pub(in crate::console) fn step_view(&mut self, by: usize, effects: &mut Vec<Effect>) {
        self.go_to(self.view.step(by), effects);
    }

    pub(in crate::console) fn follow_logs(&mut self) {
        self.logs.follow ^= true;
    }

    pub(in crate::console) fn wrap_logs(&mut self) {
        self.logs.wrap ^= true;
    }

    pub(in crate::console) fn change_log_times(&mut self) {
        self.logs.times = self.logs.times.next();
    }

    pub(in crate::console) fn narrow(&mut self) {
        self.list_mut().narrow ^= true;
    }

    /// Filters the rows, or opens the line for it.
    pub(in crate::console) fn filter(&mut self, terms: &str) {
        if terms.is_empty() {
            self.open_filter();
        } else {
            self.set_filter(terms);
        }
    }

    pub(in crate::console) fn use_mouse(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.mouse ^= true;
        let text = if self.mouse {
            "The mouse is used; the terminal selects text with Shift"
        } else {
            "The mouse is the terminal's again"
        };
        self.toast(Tone::Note, text, now);
        effects.push(Effect::Mouse(self.mouse));
    }

    pub(in crate::console) fn switch_zone(&mut self, now: Timestamp) {
        let is_utc = self.setup.zone == TimeZone::UTC;
        let zone = if is_utc {
            self.own_zone.clone()
        } else {
            TimeZone::UTC
        };
        self.setup.zone = zone;
        let zoned = now.to_zoned_datetime(self.setup.zone.clone());
        let text = format!("Times are in {}", zoned.strftime("%Z (%:z)"));
        self.toast(Tone::Note, text, now);
    }

    pub(super) fn show(&mut self, view: View, effects: &mut Vec<Effect>) {
        self.view = view;
        self.list_mut().stale = true;
        if matches!(view, View::DeadLetters | View::Failures) {
            self.look_at_dead_letters(effects);
        }
    }

    pub(super) fn move_cursor(&mut self, motion: Motion) {
        let page = crate::console::render::page_rows(self).max(1);
        let list = self.list_mut();
        let row = match motion {
            Motion::Down => list.cursor + 1,
            Motion::Up => list.cursor.saturating_sub(1),
            Motion::PageDown => list.cursor + page,
            Motion::PageUp => list.cursor.saturating_sub(page),
            Motion::Top => 0,
            Motion::Bottom => usize::MAX,
        };
        list.move_to(row);
        let at_end = list.cursor + 1 >= list.rows.len();
        if self.view == View::Logs {
            self.logs.follow =
                at_end && matches!(motion, Motion::Down | Motion::PageDown | Motion::Bottom);
        }
    }

    fn open(&mut self, effects: &mut Vec<Effect>) {
        if self.list().selected().is_some() {
            if self.view == View::Queues {
                self.look_at_queue(effects);
            }
            self.overlay = Some(Overlay::Detail { scroll: 0 });
        }
    }

    fn back(&mut self, effects: &mut Vec<Effect>) {
        if !self.list().marks.is_empty() {
            self.list_mut().marks.clear();
        } else if self.leave_view(effects) {
            // It restored the previous filter.
        } else if !self.list().filter.text().is_empty() {
            self.set_filter("");
        } else if !self.toasts.is_empty() {
            self.toasts.clear();
        } else {
            self.show(View::Overview, effects);
        }
    }

    pub(super) fn set_filter(&mut self, text: &str) {
        let filter = Filter::with_saved(text, &self.saved_filters);
        let list = self.list_mut();
        list.filter = filter;
        list.stale = true;
    }

    /// Saves the view's filter under a name; without a filter, forgets the name.
    pub(in crate::console) fn save_filter(&mut self, name: &str, now: Timestamp) {
        let is_name = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            let text = "Name the filter: `:save-filter NAME`, of letters, digits, - and _";
            return self.toast(Tone::Failed, text, now);
        }
        let filter = &self.list().filter;
        if let Some(error) = filter.error() {
            let text = format!("Not saved: {error}");
            return self.toast(Tone::Failed, text, now);
        }
        let text = filter.expanded().trim().to_owned();
        let note = if text.is_empty() {
            match self.saved_filters.remove(name) {
                Some(_) => format!("@{name} is forgotten"),
                None => String::from("There is no filter here to save: / sets one"),
            }
        } else {
            let note = format!("/@{name} is now: {text}");
            self.saved_filters.insert(name.to_owned(), text);
            note
        };
        self.toast(Tone::Note, note, now);
    }

    fn open_filter(&mut self) {
        let before = self.list().filter.text().to_owned();
        let input = Input::new(before.clone());
        self.overlay = Some(Overlay::Filter {
            input,
            before,
            back: 0,
        });
    }

    pub(in crate::console) fn open_palette(&mut self) {
        let input = Input::default();
        self.overlay = Some(Overlay::Palette {
            input,
            choice: 0,
            back: 0,
        });
    }

    pub(in crate::console) fn set_level(&mut self, argument: &str, now: Timestamp) {
        let at = LogLevel::ALL
            .iter()
            .position(|level| *level == self.logs.level)
            .unwrap_or(0);
        let named = LogLevel::ALL
            .iter()
            .find(|level| labels::level(**level) == argument);
        match named {
            Some(level) => self.logs.level = *level,
            None if argument.is_empty() => {
                self.logs.level = LogLevel::ALL[(at + 1) % LogLevel::ALL.len()];
            }
            None => self.toast(
                Tone::Failed,
                format!("There is no log level `{argument}`"),
                now,
            ),
        }
        self.list_mut().stale = true;
    }

    pub(in crate::console) fn sort(&mut self, argument: &str, now: Timestamp) {
        let columns = self.view.spec().orders();
        let list = self.list_mut();
        let next = match list.sort {
            None => Some(0),
            Some(sort) => Some(sort.column + 1).filter(|next| *next < columns.len()),
        };
        let named = columns
            .iter()
            .position(|column| column.eq_ignore_ascii_case(argument));
        let column = if argument.is_empty() { next } else { named };
        if column.is_none() && !argument.is_empty() {
            let known = columns.join(", ").to_lowercase();
            self.toast(
                Tone::Failed,
                format!("There is no column `{argument}`: {known}"),
                now,
            );
            return;
        }
        list.sort = column.map(|column| Sort {
            column,
            descending: false,
        });
        list.stale = true;
        let text = match column {
            Some(column) => format!("Sorted by {}", columns[column].to_lowercase()),
            None => String::from("In the order of arrival"),
        };
        self.toast(Tone::Note, text, now);
    }

    pub(in crate::console) fn reverse(&mut self) {
        let list = self.list_mut();
        let sort = list.sort.unwrap_or(Sort {
            column: 0,
            descending: false,
        });
        list.sort = Some(Sort {
            descending: !sort.descending,
            ..sort
        });
        list.stale = true;
    }

    fn copy(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let index = self.list().selected();
        let key = index.and_then(|index| rows::RowKey::at(self.view, &self.snapshot, index));
        let id = match key {
            Some(rows::RowKey::Id(id)) => id,
            Some(rows::RowKey::Line(_, line)) => line,
            None => return,
        };
        // For a task, copy its run's id, because users paste that into Dagster's pages.
        let task = matches!(self.view, View::Overview | View::Steps)
            .then(|| index.and_then(|index| rows::task_at(&self.snapshot, index)))
            .flatten();
        let text = task.map_or(id, |task| task.run_id.clone());
        self.put_on_clipboard(text, now, effects);
    }

    pub(super) fn put_on_clipboard(
        &mut self,
        text: String,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let shown = crate::console::text::prefix(&text, 60);
        self.toast(
            Tone::Note,
            format!("Sent to the terminal's clipboard: {shown}"),
            now,
        );
        effects.push(Effect::Copy(text));
    }

    pub(in crate::console) fn dump_to(
        &mut self,
        argument: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let (word, file) = argument.split_once(' ').unwrap_or((argument, ""));
        let form = match Form::named(word) {
            Some(form) => form,
            None if word.is_empty() => Form::Screen,
            None => {
                let text = format!("`{word}` is no form to write: screen, csv or json");
                return self.toast(Tone::Failed, text, now);
            }
        };
        let Some(text) = self.dump(form, now) else {
            let text = format!("{} is no table: dump screen or json", self.view.title());
            return self.toast(Tone::Failed, text, now);
        };
        let path = if file.trim().is_empty() {
            let zoned = now.to_zoned_datetime(self.setup.zone.clone());
            let time = zoned.strftime("%Y%m%dT%H%M%S");
            let view = self.view.title().to_lowercase().replace(' ', "-");
            format!("dagster-taskiq-{view}-{time}.{}", form.ending())
        } else {
            file.trim().to_owned()
        };
        effects.push(Effect::Write {
            path: labels::path(&path),
            text,
        });
    }

    pub(in crate::console) fn set_theme(&mut self, name: &str, now: Timestamp) {
        match Theme::built_in(name, self.setup.depth) {
            Some(_) if self.setup.depth == Depth::Mono => {
                self.toast(
                    Tone::Note,
                    "The terminal has no colours (NO_COLOR or TERM)",
                    now,
                );
            }
            Some(theme) => self.theme = theme,
            None => {
                let known = BUILT_IN.map(|(known, _)| known).join(", ");
                self.toast(Tone::Failed, format!("Themes: {known}"), now);
            }
        }
    }
}
