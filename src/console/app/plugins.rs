//! The operator's own commands: their row, their confirmation, and their programs under way.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::{App, Effect};
use crate::console::format::short_id;
use crate::console::labels::plural;
use crate::console::options::ConsoleError;
use crate::console::overlay::Action;
use crate::console::plugins::{self, Call};
use crate::console::toast::{Toast, Tone};
use crate::console::view::View;
use crate::console::{rows, text};
use crate::domain::{Danger, quoted};

/// Maximum number of programs under way.
const MAX_RUNNING: usize = 8;

/// Programs under way.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// Names of their commands, by request.
    names: BTreeMap<u64, &'static str>,
    /// Whether the operator was warned on leaving.
    is_leaving: bool,
}

impl App {
    /// Adds the operator's own commands of a file, with their keys.
    ///
    /// # Errors
    /// The file is not valid, or a key in it has another meaning already.
    pub fn with_plugins(self, path: &Path) -> Result<Self, ConsoleError> {
        let (keymap, plugins) = self.keymap.clone().load_plugins(path)?;
        Ok(Self {
            keymap,
            plugins,
            ..self
        })
    }

    /// Runs a command of the operator's own on the row under the cursor, or opens its confirmation.
    pub(super) fn run_plugin(&mut self, number: usize, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(plugin) = self.plugins.get(number).cloned() else {
            return;
        };
        let name = plugin.row.name;
        if self.list().marks.len() > 1 {
            let text = format!("`{name}` works on one row: Esc takes the marks away");
            return self.toast(Tone::Failed, text, now);
        }
        let at = self.target_rows().first().copied();
        let row = at.and_then(|at| self.value_at(at)).unwrap_or_default();
        let words = match plugin.words_for(&row) {
            Ok(words) => words,
            Err(reason) => return self.toast(Tone::Failed, format!("{name}: {reason}"), now),
        };
        let line = shown(&words);
        let about = at.map_or_else(|| String::from("no row"), |at| self.about(at));
        let changes = plugin.row.danger != Danger::Safe;
        let call = Call {
            request: 0,
            name,
            view: plugins::name_of(self.view),
            words,
            row,
            limit: plugin.limit(),
            target: changes.then(|| format!("{about}: {line}")),
            reason: None,
        };
        if !plugin.confirms {
            let reason = self.given_reason.take();
            return self.start_program(Call { reason, ..call }, now, effects);
        }
        let typed = at.map_or_else(|| name.to_owned(), |at| self.typed_of(at, name));
        let typed = (plugin.row.danger == Danger::Destructive).then_some(typed.as_str());
        let body = vec![
            format!("On {about}: {}.", plugin.row.help.trim_end_matches('.')),
            format!("$ {line}"),
        ];
        let action = Action::Run(Box::new(call));
        self.confirm_action(format!("Run {name}?"), body, typed, action);
    }

    /// Starts a program; its end replaces the toast.
    pub(super) fn start_program(&mut self, call: Call, now: Timestamp, effects: &mut Vec<Effect>) {
        let name = call.name;
        if self.running.names.len() >= MAX_RUNNING {
            let text = format!("{name}: {MAX_RUNNING} of your commands run already; wait for one");
            return self.toast(Tone::Failed, text, now);
        }
        self.next_request += 1;
        let request = self.next_request;
        self.running.names.insert(request, name);
        self.toast(Tone::Sent, format!("{name} runs"), now);
        if let Some(Toast { request: of, .. }) = self.toasts.last_mut() {
            *of = Some(request);
        }
        effects.push(Effect::Run(Box::new(Call { request, ..call })));
    }

    pub(super) fn program_ended(&mut self, request: u64) {
        if self.running.names.remove(&request).is_some() {
            self.running.is_leaving = false;
        }
    }

    /// The programs under way, for the head line.
    pub(in crate::console) fn running_plugins(&self) -> Option<String> {
        let mut names = self.running.names.values();
        let first = names.next()?;
        Some(match names.count() {
            0 => format!("{first} runs"),
            more => format!("{first} +{more} run"),
        })
    }

    /// Warns once before the console is left while programs run; `true` if it did.
    pub(super) fn warns_of_programs(&mut self, now: Timestamp) -> bool {
        let count = self.running.names.len();
        if count == 0 || std::mem::replace(&mut self.running.is_leaving, true) {
            return false;
        }
        let own = plural(count, "command");
        let text = format!("{own} of yours still under way: q again kills what runs");
        self.toast(Tone::Failed, text, now);
        true
    }

    /// The row at a position of the view's list, in words.
    fn about(&self, at: usize) -> String {
        let text = self.view.spec().about(&self.snapshot, at);
        text::clean(&text.unwrap_or_default()).into_owned()
    }

    /// The text that confirms a destructive command on a row.
    fn typed_of(&self, at: usize, name: &str) -> String {
        let task = rows::task_at(&self.snapshot, at);
        match (self.view, rows::id_at(self.view, &self.snapshot, at)) {
            (View::Overview | View::Steps, _) => task.map_or(name, |task| task.name()).to_owned(),
            (View::Runs, Some(run)) => short_id(run).to_owned(),
            (_, Some(id)) => id.to_owned(),
            (_, None) => name.to_owned(),
        }
    }
}

/// Words as a command line, for display.
fn shown(words: &[String]) -> String {
    let words = words.iter().map(|word| text::clean(word));
    let words = words.map(|word| quoted(&word));
    words.collect::<Vec<_>>().join(" ")
}
