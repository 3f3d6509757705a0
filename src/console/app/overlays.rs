//! Keys of the overlays.

use crossterm::event::KeyCode;
use jiff::Timestamp;

use super::{App, Effect};
use crate::console::command::{Motion, Verb};
use crate::console::key::Key;
use crate::console::keymap::Meaning;
use crate::console::launch::Part;
use crate::console::line::{Input, Typed};
use crate::console::options::Exit;
use crate::console::overlay::{Action, Confirm, Overlay};
use crate::console::plugins::Call;
use crate::console::toast::Tone;

/// Moves up and down in a list beside an input line, where letters are text.
pub(super) fn choose(key: Key, choice: usize, len: usize) -> usize {
    let down = matches!(
        (key.code, key.ctrl),
        (KeyCode::Down | KeyCode::Tab, _) | (KeyCode::Char('n'), true)
    );
    let up = matches!(
        (key.code, key.ctrl),
        (KeyCode::Up | KeyCode::BackTab, _) | (KeyCode::Char('p'), true)
    );
    match (down, up) {
        (true, _) => (choice + 1).min(len.saturating_sub(1)),
        (_, true) => choice.saturating_sub(1),
        _ => choice,
    }
}

impl App {
    /// Inserts pasted text into an input line only: it is never interpreted as keys. A confirmation
    /// must be typed.
    pub(super) fn paste(&mut self, text: &str, now: Timestamp) {
        if text.is_empty() {
            return;
        }
        // Earlier keys of a sequence are not part of the paste.
        self.pending.clear();
        if self.paste_find(text) {
            return;
        }
        match &mut self.overlay {
            Some(Overlay::Filter { input, .. }) => {
                input.paste(text);
                let text = input.text().to_owned();
                self.set_filter(&text);
            }
            Some(Overlay::Find { input }) => input.paste(text),
            Some(Overlay::Palette { input, choice, .. } | Overlay::Launch { input, choice }) => {
                input.paste(text);
                *choice = 0;
            }
            Some(Overlay::LaunchForm(form)) if !matches!(form.part, Part::Rows) => {
                Self::paste_into_form(form, text);
            }
            Some(Overlay::Stagger(stagger)) if stagger.reason.is_typed => {
                stagger.reason.input.paste(text);
            }
            Some(Overlay::Stagger(_)) => {
                let text = "Nothing was pasted: the rate must be typed";
                self.toast(Tone::Note, text, now);
            }
            Some(Overlay::Confirm(confirm)) if confirm.reason.is_typed => {
                confirm.reason.input.paste(text);
            }
            Some(Overlay::Confirm(confirm)) if confirm.typed.is_some() => {
                let text = "Nothing was pasted: what confirms must be typed";
                self.toast(Tone::Note, text, now);
            }
            _ => {
                let text = "Text was pasted, or many keys came at once: nothing was done";
                self.toast(Tone::Note, text, now);
            }
        }
    }

    pub(super) fn overlay_key(&mut self, key: Key, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(overlay) = self.overlay.take() else {
            return;
        };
        // Ctrl-C acts as Esc everywhere but in the form, where Esc goes back by one step only.
        let leaves = key.ctrl && key.code == KeyCode::Char('c');
        let key = if leaves && !matches!(overlay, Overlay::LaunchForm(_)) {
            Key::plain(KeyCode::Esc)
        } else {
            key
        };
        match overlay {
            Overlay::Help { scroll } => {
                self.scroll_key(key, scroll, |scroll| Overlay::Help { scroll }, now, effects);
            }
            Overlay::Alarms(place) => self.alarms_key(key, &place, now, effects),
            Overlay::AlarmHistory { scroll } => {
                let with = |scroll| Overlay::AlarmHistory { scroll };
                self.scroll_key(key, scroll, with, now, effects);
            }
            Overlay::Detail { scroll } => {
                self.scroll_key(
                    key,
                    scroll,
                    |scroll| Overlay::Detail { scroll },
                    now,
                    effects,
                );
            }
            Overlay::Explain { scroll, subject } => {
                self.explain_key(key, (scroll, subject), now, effects);
            }
            Overlay::Palette {
                input,
                choice,
                back,
            } => self.palette_key(key, input, (choice, back), now, effects),
            Overlay::Filter {
                input,
                before,
                back,
            } => self.filter_key(key, input, before, back),
            Overlay::Launch { input, choice } => self.launch_key(key, input, choice, effects),
            Overlay::LaunchForm(form) => self.form_key(key, form, now, effects),
            Overlay::Columns { choice } => self.columns_key(key, choice),
            Overlay::Find { input } => self.log_find_key(key, input, now),
            Overlay::Scale { input } => self.scale_key(key, input, now, effects),
            Overlay::Stagger(stagger) => self.stagger_key(key, stagger, now),
            Overlay::Confirm(confirm) => self.confirm_key(key, confirm, now, effects),
            Overlay::Quit => self.quit_key(key, effects),
        }
    }

    /// Handles a key in help and details: movements scroll; Esc, `q` and Enter close; another
    /// command closes them and is carried out.
    pub(super) fn scroll_key(
        &mut self,
        key: Key,
        scroll: u16,
        with: impl Fn(u16) -> Overlay,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let most = crate::console::render::overlay_overflow(self, &with(scroll));
        if let Some(scroll) = self.find_key(key, scroll, &with) {
            self.overlay = Some(with(scroll.min(most)));
            return;
        }
        let Meaning::Command(row) = self.keymap.meaning(&[key], self.view) else {
            self.overlay = Some(with(scroll));
            return;
        };
        let page = self.size.1 / 2;
        let scrolled = match row.verb {
            Verb::Move(Motion::Down) => scroll.saturating_add(1),
            Verb::Move(Motion::Up) => scroll.saturating_sub(1),
            Verb::Move(Motion::PageDown) => scroll.saturating_add(page),
            Verb::Move(Motion::PageUp) => scroll.saturating_sub(page),
            Verb::Move(Motion::Top) => 0,
            Verb::Move(Motion::Bottom) => most,
            Verb::Back | Verb::Quit | Verb::Open => return,
            Verb::Help if matches!(with(0), Overlay::Help { .. }) => return,
            _ => return self.perform(row, "", now, effects),
        };
        self.overlay = Some(with(scrolled.min(most)));
    }

    fn filter_key(&mut self, key: Key, mut input: Input, before: String, back: usize) {
        if matches!(key.code, KeyCode::Up | KeyCode::Down) {
            let back = match key.code {
                KeyCode::Up => (back + 1).min(self.filters.len()),
                _ => back.saturating_sub(1),
            };
            let at = self.filters.len().checked_sub(back);
            let line = at.and_then(|at| self.filters.get(at)).cloned();
            input = Input::new(line.unwrap_or_default());
            self.set_filter(input.text());
            self.overlay = Some(Overlay::Filter {
                input,
                before,
                back,
            });
            return;
        }
        match input.key(key) {
            Typed::Left => self.set_filter(&before),
            Typed::Given => {
                self.set_filter(input.text());
                if !input.text().is_empty() {
                    self.filters.retain(|known| known != input.text());
                    self.filters.push(input.text().to_owned());
                }
            }
            typed => {
                let back = if typed == Typed::Edited { 0 } else { back };
                self.set_filter(input.text());
                self.overlay = Some(Overlay::Filter {
                    input,
                    before,
                    back,
                });
            }
        }
    }

    fn launch_key(&mut self, key: Key, mut input: Input, choice: usize, effects: &mut Vec<Effect>) {
        match input.key(key) {
            Typed::Left => {}
            Typed::Given => {
                let job = self
                    .matching_jobs(input.text())
                    .get(choice)
                    .map(|job| (*job).clone());
                match job {
                    Some(job) => self.open_form(job, effects),
                    None => self.overlay = Some(Overlay::Launch { input, choice }),
                }
            }
            Typed::Edited => self.overlay = Some(Overlay::Launch { input, choice: 0 }),
            Typed::Other => {
                let choice = choose(key, choice, self.matching_jobs(input.text()).len());
                self.overlay = Some(Overlay::Launch { input, choice });
            }
        }
    }

    fn scale_key(&mut self, key: Key, mut input: Input, now: Timestamp, effects: &mut Vec<Effect>) {
        // Letters would be an error at Enter, so they are not accepted at all. Two full stops are
        // part of a range.
        if key.typed().is_some_and(|c| !c.is_ascii_digit() && c != '.') {
            self.overlay = Some(Overlay::Scale { input });
            return;
        }
        match input.key(key) {
            Typed::Left => {}
            Typed::Given => self.scale_to(input.text(), now, effects),
            Typed::Edited | Typed::Other => self.overlay = Some(Overlay::Scale { input }),
        }
    }

    fn confirm_key(
        &mut self,
        key: Key,
        mut confirm: Confirm,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if confirm.reason.key(key) {
            self.overlay = Some(Overlay::Confirm(confirm));
            return;
        }
        if confirm.typed.is_none() {
            match key.typed() {
                Some('y' | 'Y') => self.send_all(confirm, now, effects),
                Some('n' | 'N' | 'q') => {}
                _ if key.code == KeyCode::Esc => {}
                _ => self.overlay = Some(Overlay::Confirm(confirm)),
            }
            return;
        }
        match confirm.input.key(key) {
            Typed::Left => {}
            Typed::Given if confirm.is_given() => self.send_all(confirm, now, effects),
            typed => {
                confirm.is_refused = matches!(typed, Typed::Given);
                self.overlay = Some(Overlay::Confirm(confirm));
            }
        }
    }

    fn send_all(&mut self, confirm: Confirm, now: Timestamp, effects: &mut Vec<Effect>) {
        let reason = confirm.reason.text();
        match confirm.action {
            Action::Send(requests) => {
                for (worker, command) in requests {
                    self.send_because(worker, command, reason.clone(), now, effects);
                }
            }
            Action::Roll(requests) => self.start_rolling(requests, reason),
            Action::Run(call) => self.start_program(Call { reason, ..*call }, now, effects),
        }
    }

    fn quit_key(&mut self, key: Key, effects: &mut Vec<Effect>) {
        let exit = match key.typed() {
            Some('d') => Exit::DrainAndLeave,
            Some('b') => Exit::LeaveRunning,
            Some('S') => Exit::Stop,
            Some('n' | 'q') => return,
            _ if key.code == KeyCode::Esc => return,
            _ => {
                self.overlay = Some(Overlay::Quit);
                return;
            }
        };
        effects.push(Effect::Exit(exit));
    }
}
