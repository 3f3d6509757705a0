//! Search inside an open page and among the log lines: `/` or `F`, then next and previous match.

use crossterm::event::KeyCode;
use jiff::Timestamp;

use super::App;
use crate::console::key::Key;
use crate::console::line::{Input, Typed};
use crate::console::overlay::Overlay;
use crate::console::render;
use crate::console::toast::Tone;

/// A search in the open page.
#[derive(Clone, Debug, Default)]
pub struct Find {
    /// The text; case does not matter.
    pub input: Input,
    /// Whether it is being typed.
    pub is_typed: bool,
    /// Number of the match that was gone to, among all.
    pub current: usize,
    /// Scroll offset at its begin.
    origin: u16,
}

impl Find {
    /// The text in the form that is compared.
    #[must_use]
    pub fn needle(&self) -> String {
        self.input.text().to_lowercase()
    }
}

impl App {
    /// The search in the open page.
    #[must_use]
    pub fn find(&self) -> Option<&Find> {
        self.page_find.as_ref()
    }

    /// The text that is searched among the log lines; empty for none.
    #[must_use]
    pub fn log_find(&self) -> &str {
        &self.log_find
    }

    /// Handles a key of the search in a page; returns the offset to scroll to, or `None` if the key
    /// is none of the search's.
    pub(super) fn find_key(
        &mut self,
        key: Key,
        scroll: u16,
        page: &impl Fn(u16) -> Overlay,
    ) -> Option<u16> {
        let typed = self.page_find.as_ref().is_some_and(|find| find.is_typed);
        if typed {
            return Some(self.type_find(key, scroll, page));
        }
        let plain = key.typed();
        if plain == Some('/') {
            self.page_find = Some(Find {
                is_typed: true,
                origin: scroll,
                ..Find::default()
            });
            return Some(scroll);
        }
        self.page_find.as_ref()?;
        match (plain, key.code) {
            (Some('n'), _) => Some(self.step_find(1, scroll, page)),
            (Some('N'), _) => Some(self.step_find(-1, scroll, page)),
            (_, KeyCode::Esc) => {
                self.page_find = None;
                Some(scroll)
            }
            _ => None,
        }
    }

    fn type_find(&mut self, key: Key, scroll: u16, page: &impl Fn(u16) -> Overlay) -> u16 {
        let Some(mut find) = self.page_find.take() else {
            return scroll;
        };
        let typed = find.input.key(key);
        let origin = find.origin;
        match typed {
            Typed::Left => return origin,
            Typed::Given if find.input.text().is_empty() => return origin,
            Typed::Given => {
                find.is_typed = false;
                self.page_find = Some(find);
                return scroll;
            }
            Typed::Edited | Typed::Other => {}
        }
        self.page_find = Some(find);
        self.find_from(origin, page)
    }

    /// Adds pasted text to a search that is being typed; `false` if there is none.
    pub(super) fn paste_find(&mut self, text: &str) -> bool {
        let find = self.page_find.as_mut().filter(|find| find.is_typed);
        let is_typed = find.is_some();
        if let Some(find) = find {
            find.input.paste(text);
        }
        is_typed
    }

    /// Goes to the first match from a line on, or the first of all.
    fn find_from(&mut self, origin: u16, page: &impl Fn(u16) -> Overlay) -> u16 {
        let lines = render::matching_lines(self, &page(0));
        let at = lines.iter().position(|line| *line >= origin).unwrap_or(0);
        if let Some(find) = &mut self.page_find {
            find.current = at;
        }
        lines.get(at).copied().unwrap_or(origin)
    }

    /// Goes to the next or previous match, around the ends.
    fn step_find(&mut self, by: i8, scroll: u16, page: &impl Fn(u16) -> Overlay) -> u16 {
        let lines = render::matching_lines(self, &page(0));
        let Some(find) = self.page_find.as_mut().filter(|_| !lines.is_empty()) else {
            return scroll;
        };
        let last = lines.len() - 1;
        find.current = match (by > 0, find.current.min(last)) {
            (true, at) if at == last => 0,
            (true, at) => at + 1,
            (false, 0) => last,
            (false, at) => at - 1,
        };
        lines[find.current]
    }

    /// Searches the log lines for a text: goes to the next line with it.
    pub(super) fn find_in_logs(&mut self, text: &str, now: Timestamp) {
        text.clone_into(&mut self.log_find);
        self.step_logs(1, now);
    }

    /// Opens the input line of the search among the log lines.
    /// Goes to the next log line with the text, or opens the line for it.
    pub(in crate::console) fn search_logs(&mut self, text: &str, now: Timestamp) {
        if text.is_empty() {
            self.open_log_find();
        } else {
            self.find_in_logs(text, now);
        }
    }

    fn open_log_find(&mut self) {
        self.overlay = Some(Overlay::Find {
            input: Input::default(),
        });
    }

    pub(super) fn log_find_key(&mut self, key: Key, mut input: Input, now: Timestamp) {
        match input.key(key) {
            Typed::Left => {}
            Typed::Given => self.find_in_logs(input.text(), now),
            Typed::Edited | Typed::Other => self.overlay = Some(Overlay::Find { input }),
        }
    }

    /// Goes to the next or previous log line with the text, around the ends.
    pub(in crate::console) fn step_logs(&mut self, by: i8, now: Timestamp) {
        let needle = self.log_find.to_lowercase();
        if needle.is_empty() {
            return self.toast(Tone::Note, "Nothing is searched for: F", now);
        }
        let list = self.list();
        let (count, cursor) = (list.rows.len(), list.cursor);
        let has = |row: &usize| {
            let (folds, logs) = (&self.snapshot.tracebacks, &self.snapshot.logs);
            list.rows.get(*row).is_some_and(|at| {
                let mut lines = folds.lines_of(at, logs);
                lines.any(|line| line.message.to_lowercase().contains(&needle))
            })
        };
        let found = if by > 0 {
            (cursor + 1..count).chain(0..=cursor).find(has)
        } else {
            let before = (0..cursor).rev();
            before.chain((cursor..count).rev()).find(has)
        };
        if let Some(row) = found {
            self.logs.follow = false;
            self.list_mut().move_to(row);
        } else {
            let text = format!("No line here has `{}`", self.log_find);
            self.toast(Tone::Failed, text, now);
        }
    }
}
