//! What can lie over a view, one at a time: input lines, dialogs, lists, details.

use super::app::{AlarmPlace, Subject};
use super::key::Key;
use super::launch::{LaunchForm, Part};
pub use super::line::Input;
use crate::domain::Command;

/// The thing on top.
#[derive(Clone, Debug)]
pub enum Overlay {
    /// Keys and what they do in this view.
    Help {
        /// Lines scrolled off the top.
        scroll: u16,
    },
    /// All alarms.
    Alarms(AlarmPlace),
    /// Details of the row under the cursor.
    Detail {
        /// Lines scrolled off the top.
        scroll: u16,
    },
    /// Why a run or step does not start.
    Explain {
        /// Lines scrolled off the top.
        scroll: u16,
        /// The run or step.
        subject: Subject,
    },
    /// `:` and a command.
    Palette {
        /// What was typed.
        input: Input,
        /// The chosen completion.
        choice: usize,
        /// How far back in the history, 0 for not at all.
        back: usize,
    },
    /// `/` and a filter; it applies while it is typed.
    Filter {
        /// What was typed.
        input: Input,
        /// The filter before, for Esc.
        before: String,
        /// How far back in the history, 0 for not at all.
        back: usize,
    },
    /// The job picker.
    Launch {
        /// What was typed.
        input: Input,
        /// The chosen row.
        choice: usize,
    },
    /// The form of a launch.
    LaunchForm(Box<LaunchForm>),
    /// The chooser of columns.
    Columns {
        /// The chosen row.
        choice: usize,
    },
    /// How many slots.
    Scale {
        /// What was typed.
        input: Input,
    },
    /// Do it?
    Confirm(Confirm),
    /// What to do with what is in flight.
    Quit,
}

impl Overlay {
    /// Whether a chord with Alt means something to it.
    #[must_use]
    pub fn takes_chord(&self, key: Key) -> bool {
        match self {
            Self::Palette { .. }
            | Self::Filter { .. }
            | Self::Launch { .. }
            | Self::Scale { .. } => Input::takes_chord(key),
            Self::Confirm(confirm) => confirm.typed.is_some() && Input::takes_chord(key),
            Self::LaunchForm(form) => match form.part {
                Part::Editor(_) => true,
                Part::Pick { .. } | Part::Tags(_) => Input::takes_chord(key),
                Part::Rows => false,
            },
            Self::Help { .. }
            | Self::Alarms(_)
            | Self::Detail { .. }
            | Self::Explain { .. }
            | Self::Columns { .. }
            | Self::Quit => false,
        }
    }
}

/// A question before a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// What is about to be done.
    pub title: String,
    /// What it means: the dry run's counts, one sentence a line.
    pub body: Vec<String>,
    /// What must be typed; `None` asks for `y`.
    pub typed: Option<String>,
    /// What was typed.
    pub input: Input,
    /// Whether Enter was pressed on something else than what was asked for, and nothing typed since.
    pub is_refused: bool,
    /// What is sent then, and to which worker.
    pub requests: Vec<(Option<String>, Command)>,
}

impl Confirm {
    /// Whether what was asked for was typed. A run whose short id is asked for may be named in full, as
    /// the console copies it.
    #[must_use]
    pub fn is_given(&self) -> bool {
        let given = self.input.text().trim();
        let names_run = |command: &Command| match command {
            Command::TerminateRuns { run_ids, .. } => run_ids.as_slice() == [given],
            _ => false,
        };
        let asked_for = |typed: &String| {
            typed == given || self.requests.iter().any(|(_, command)| names_run(command))
        };
        self.typed.as_ref().is_none_or(asked_for)
    }
}
