//! Marked rows and chosen columns.

use jiff::Timestamp;

use super::App;
use crate::console::command::Motion;
use crate::console::key::Key;
use crate::console::labels::plural;
use crate::console::overlay::Overlay;
use crate::console::toast::Tone;
use crate::console::view;

use crossterm::event::KeyCode;

impl App {
    /// Marks the row under the cursor and moves to the next, so that a held key marks several rows.
    pub(in crate::console) fn mark(&mut self) {
        let (view, snapshot) = (self.view, self.snapshot.clone());
        self.list_mut().toggle_mark(view, &snapshot);
        self.move_cursor(Motion::Down);
    }

    pub(in crate::console) fn mark_range(&mut self) {
        let (view, snapshot) = (self.view, self.snapshot.clone());
        self.list_mut().mark_range(view, &snapshot);
    }

    pub(in crate::console) fn mark_all(&mut self, now: Timestamp) {
        let (view, snapshot) = (self.view, self.snapshot.clone());
        let list = self.list_mut();
        list.mark_all(view, &snapshot);
        let text = format!("{} marked", plural(list.marks.len(), "row"));
        self.toast(Tone::Note, text, now);
    }

    /// Opens the chooser, or shows or hides the column of this title.
    pub(in crate::console) fn choose_columns(&mut self, title: &str, now: Timestamp) {
        let known = view::optional_columns(self.view);
        if known.is_empty() {
            return;
        }
        if title.is_empty() {
            self.overlay = Some(Overlay::Columns { choice: 0 });
            return;
        }
        let named = known.iter().find(|known| known.eq_ignore_ascii_case(title));
        if let Some(title) = named {
            self.toggle_column(title);
        } else {
            let known = known.join(", ").to_lowercase();
            let text = format!("There is no column `{title}` to hide: {known}");
            self.toast(Tone::Failed, text, now);
        }
    }

    fn toggle_column(&mut self, title: &str) {
        let list = self.list_mut();
        if !list.hidden.remove(title) {
            list.hidden.insert(title.to_owned());
        }
    }

    /// Handles a key in the column chooser.
    pub(super) fn columns_key(&mut self, key: Key, choice: usize) {
        let titles = view::optional_columns(self.view);
        let last = titles.len().saturating_sub(1);
        let choice = match key.code {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | 'c') => return,
            KeyCode::Down | KeyCode::Char('j') => (choice + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => choice.saturating_sub(1),
            KeyCode::Char(' ') => {
                if let Some(title) = titles.get(choice) {
                    self.toggle_column(title);
                }
                choice
            }
            _ => choice,
        };
        self.overlay = Some(Overlay::Columns { choice });
    }
}
