//! The overlays of a view, one at a time: input lines, dialogs, lists, details.

use crossterm::event::KeyCode;

use super::app::{AlarmPlace, MAX_RATE, Plan, Subject};
use super::key::Key;
use super::launch::{LaunchForm, Part};
pub use super::line::Input;
use super::line::Typed;
use super::plugins::Call;
use crate::domain::Command;

/// The current overlay.
#[derive(Clone, Debug)]
pub enum Overlay {
    /// The keys of this view and their commands.
    Help {
        /// Lines scrolled off the top.
        scroll: u16,
    },
    /// All alarms.
    Alarms(AlarmPlace),
    /// The history of alarms.
    AlarmHistory {
        /// Lines scrolled off the top.
        scroll: u16,
    },
    /// Details of the row under the cursor.
    Detail {
        /// Lines scrolled off the top.
        scroll: u16,
    },
    /// Explanation why a run or step does not start.
    Explain {
        /// Lines scrolled off the top.
        scroll: u16,
        /// The run or step.
        subject: Subject,
    },
    /// `:` and a command.
    Palette {
        /// The typed text.
        input: Input,
        /// The chosen completion.
        choice: usize,
        /// Position in the history from its end, 0 outside of it.
        back: usize,
    },
    /// `/` and a filter; it applies while it is typed.
    Filter {
        /// The typed text.
        input: Input,
        /// The previous filter, for Esc.
        before: String,
        /// Position in the history from its end, 0 outside of it.
        back: usize,
    },
    /// The job picker.
    Launch {
        /// The typed text.
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
    /// `F` and a text that is searched among the log lines.
    Find {
        /// The typed text.
        input: Input,
    },
    /// The dialog for the number of slots.
    Scale {
        /// The typed text.
        input: Input,
    },
    /// The confirmation of a batch, with its rate.
    Stagger(Box<Stagger>),
    /// A confirmation.
    Confirm(Confirm),
    /// The dialog for tasks in flight when quitting.
    Quit,
}

impl Overlay {
    /// Whether it is text that is scrolled and searched.
    #[must_use]
    pub fn is_page(&self) -> bool {
        matches!(
            self,
            Self::Help { .. }
                | Self::AlarmHistory { .. }
                | Self::Detail { .. }
                | Self::Explain { .. }
        )
    }

    /// Whether a chord with Alt has a meaning for it.
    #[must_use]
    pub fn takes_chord(&self, key: Key) -> bool {
        match self {
            Self::Palette { .. }
            | Self::Filter { .. }
            | Self::Launch { .. }
            | Self::Find { .. }
            | Self::Scale { .. }
            | Self::Stagger(_) => Input::takes_chord(key),
            Self::Confirm(confirm) => {
                (confirm.typed.is_some() || confirm.reason.is_typed) && Input::takes_chord(key)
            }
            Self::LaunchForm(form) => match form.part {
                Part::Editor(_) => true,
                Part::Pick { .. } | Part::Tags(_) => Input::takes_chord(key),
                Part::Rows => false,
            },
            Self::Help { .. }
            | Self::Alarms(_)
            | Self::AlarmHistory { .. }
            | Self::Detail { .. }
            | Self::Explain { .. }
            | Self::Columns { .. }
            | Self::Quit => false,
        }
    }
}

/// A confirmation of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// The action to confirm.
    pub title: String,
    /// Its effect: the dry run's counts, one sentence a line.
    pub body: Vec<String>,
    /// The text that must be typed; `None` requires `y`.
    pub typed: Option<String>,
    /// The typed text.
    pub input: Input,
    /// Whether Enter was pressed on a wrong text, and nothing was typed since.
    pub is_refused: bool,
    /// The operator's reason.
    pub reason: Reason,
    /// What is confirmed.
    pub action: Action,
}

/// The operator's reason in a dialog, for the audit log. Tab goes to it and back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// The typed text; empty for none.
    pub input: Input,
    /// Whether keys are typed into it.
    pub is_typed: bool,
}

impl Reason {
    /// The reason given before the dialog, if any.
    #[must_use]
    pub fn given(text: Option<String>) -> Self {
        Self {
            input: Input::new(text.unwrap_or_default()),
            is_typed: false,
        }
    }

    /// The text, if there is one.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let text = self.input.text().trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Handles a key; `false` if it is the dialog's.
    pub fn key(&mut self, key: Key) -> bool {
        let switches = matches!(key.code, KeyCode::Tab | KeyCode::BackTab);
        if !self.is_typed && !switches {
            return false;
        }
        let typed = if switches {
            Typed::Given
        } else {
            self.input.key(key)
        };
        self.is_typed = match typed {
            // Esc takes the reason back, not the command.
            Typed::Left => {
                self.input = Input::default();
                false
            }
            Typed::Given => !self.is_typed,
            Typed::Edited | Typed::Other => true,
        };
        true
    }
}

/// What a confirmation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends the commands, each to its worker.
    Send(Vec<(Option<String>, Command)>),
    /// Sends them one after the other, each when the worker before is back.
    Roll(Vec<(Option<String>, Command)>),
    /// Runs a program of the operator's own.
    Run(Box<Call>),
}

impl Action {
    fn commands(&self) -> impl Iterator<Item = &Command> {
        let requests = match self {
            Self::Send(requests) | Self::Roll(requests) => requests.as_slice(),
            Self::Run(_) => &[],
        };
        requests.iter().map(|(_, command)| command)
    }
}

impl Confirm {
    /// Whether the required text was typed. A run whose short id is required may be named in full,
    /// as the console copies it.
    #[must_use]
    pub fn is_given(&self) -> bool {
        let given = self.input.text().trim();
        let names_run = |command: &Command| match command {
            Command::TerminateRuns { run_ids, .. } => run_ids.as_slice() == [given],
            _ => false,
        };
        let is_requested = |typed: &String| typed == given || self.action.commands().any(names_run);
        self.typed.as_ref().is_none_or(is_requested)
    }
}

/// The confirmation of a batch, with its rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stagger {
    /// The action to confirm.
    pub title: String,
    /// Its effect: the counts, one sentence a line.
    pub body: Vec<String>,
    /// The typed rate, in items a minute.
    pub input: Input,
    /// Whether Enter was pressed on something that is no rate, and nothing was typed since.
    pub is_refused: bool,
    /// The operator's reason.
    pub reason: Reason,
    /// The items.
    pub plan: Plan,
}

impl Stagger {
    /// The typed rate, in items a minute.
    #[must_use]
    pub fn rate(&self) -> Option<usize> {
        let rate = self.input.text().trim().parse().ok();
        rate.filter(|rate| (1..=MAX_RATE).contains(rate))
    }
}
