//! Keys and answers of the launch form.

use crossterm::event::KeyCode;
use jiff::Timestamp;
use ratatui_textarea::{CursorMove, TextArea};

use super::overlays::choose;
use super::{App, Effect};
use crate::console::key::Key;
use crate::console::launch::{Field, LaunchForm, Loadable, Part, PartitionConfig};
use crate::console::line::{Input, Typed};
use crate::console::overlay::Overlay;
use crate::console::toast::Tone;
use crate::console::yaml_diagnostics;
use crate::domain::{Answer, AssetKey, Command, ConfigProblem, JobRef, Query, Reply};

impl App {
    /// Opens the form for a job, and queries Dagster for its parameters.
    pub(super) fn open_form(&mut self, job: JobRef, effects: &mut Vec<Effect>) {
        let query = Query::Job {
            job: job.clone(),
            assets: Vec::new(),
        };
        let request = self.query(query, effects);
        self.overlay = Some(Overlay::LaunchForm(Box::new(LaunchForm::new(job, request))));
    }

    /// Sends a query; the answer comes as a reply to the request of the returned number.
    pub(super) fn query(&mut self, query: Query, effects: &mut Vec<Effect>) -> u64 {
        self.next_request += 1;
        effects.push(Effect::Request {
            request: self.next_request,
            worker: None,
            command: Command::Query(query),
            reason: None,
        });
        self.next_request
    }

    /// Handles a key in the form; the overlay was taken.
    pub(super) fn form_key(
        &mut self,
        key: Key,
        mut form: Box<LaunchForm>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let open = match std::mem::replace(&mut form.part, Part::Rows) {
            Part::Rows => self.row_key(key, &mut form, now, effects),
            Part::Editor(editor) => {
                editor_key(key, &mut form, editor);
                true
            }
            Part::Pick { input, choice } => {
                self.pick_key(key, &mut form, input, choice, effects);
                true
            }
            Part::Tags(before) => {
                match form.tags.key(key) {
                    Typed::Left => form.tags = before,
                    Typed::Given => {
                        if let Err(reason) = form.run_tags() {
                            self.toast(Tone::Failed, reason, now);
                            form.part = Part::Tags(before);
                        }
                    }
                    Typed::Edited | Typed::Other => form.part = Part::Tags(before),
                }
                true
            }
        };
        if open && self.overlay.is_none() {
            self.overlay = Some(Overlay::LaunchForm(form));
        }
    }

    /// Handles a key on the form's rows; returns whether the form stays.
    fn row_key(
        &mut self,
        key: Key,
        form: &mut LaunchForm,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let fields = form.fields();
        let at = fields
            .iter()
            .position(|field| *field == form.field)
            .unwrap_or(0);
        match key.code {
            KeyCode::Esc | KeyCode::Char('q') => {
                let (input, choice) = (Input::default(), 0);
                self.overlay = Some(Overlay::Launch { input, choice });
                return false;
            }
            KeyCode::Char('c') if key.ctrl => return false,
            KeyCode::Down | KeyCode::Tab | KeyCode::Char('j') => {
                form.field = fields[(at + 1) % fields.len()];
            }
            KeyCode::Up | KeyCode::BackTab | KeyCode::Char('k') => {
                form.field = fields[(at + fields.len() - 1) % fields.len()];
            }
            KeyCode::Char('e') => effects.push(Effect::Edit(form.text().to_owned())),
            KeyCode::Char('d') => {
                form.config = None;
                form.problems.clear();
            }
            KeyCode::Enter | KeyCode::Char(' ') => match form.field {
                Field::Launch => self.check_form(form, now, effects),
                Field::Tags => form.part = Part::Tags(form.tags.clone()),
                Field::Config => form.part = Part::Editor(Box::new(editor(form))),
                Field::Partition | Field::Assets => {
                    form.part = Part::Pick {
                        input: Input::default(),
                        choice: 0,
                    };
                }
            },
            _ => {}
        }
        true
    }

    fn pick_key(
        &mut self,
        key: Key,
        form: &mut LaunchForm,
        mut input: Input,
        choice: usize,
        effects: &mut Vec<Effect>,
    ) {
        let matching = form.matching(input.text());
        let picked = matching.get(choice).copied();
        if form.field == Field::Assets && key.typed() == Some(' ') {
            toggle(form, picked);
            let choice = (choice + 1).min(matching.len().saturating_sub(1));
            form.part = Part::Pick { input, choice };
            return;
        }
        match input.key(key) {
            Typed::Left => return,
            Typed::Edited => return form.part = Part::Pick { input, choice: 0 },
            Typed::Other => {
                let choice = choose(key, choice, matching.len());
                return form.part = Part::Pick { input, choice };
            }
            Typed::Given => {}
        }
        form.problems.clear();
        if form.field == Field::Partition {
            form.partition = picked.and_then(|at| form.choices().get(at).cloned());
            self.query_partition(form, effects);
        } else if form.assets.is_empty() {
            // Without marks, the row under the cursor is meant.
            toggle(form, picked);
        }
        if form.field == Field::Assets {
            // Partitions and configuration are those of the chosen assets.
            let query = Query::Job {
                job: form.job.clone(),
                assets: form.assets.iter().cloned().collect(),
            };
            form.renewing = Some(self.query(query, effects));
            self.query_partition(form, effects);
        }
        form.field = Field::Launch;
    }

    /// Queries Dagster for the configuration of the chosen partition.
    fn query_partition(&mut self, form: &mut LaunchForm, effects: &mut Vec<Effect>) {
        form.partition_config = match &form.partition {
            None => PartitionConfig::Unknown,
            Some(partition) => {
                let query = Query::PartitionConfig {
                    job: form.job.clone(),
                    assets: form.assets.iter().cloned().collect(),
                    partition: partition.clone(),
                };
                PartitionConfig::Requested(self.query(query, effects))
            }
        };
    }

    /// Has Dagster validate the form; a positive answer launches it.
    fn check_form(&mut self, form: &mut LaunchForm, now: Timestamp, effects: &mut Vec<Effect>) {
        if form.checking.is_some() {
            return;
        }
        let launch = match form.launch() {
            Ok(launch) => launch,
            Err(reason) => return self.toast(Tone::Failed, reason, now),
        };
        // Dagster would treat invalid YAML as an empty text, or report no line.
        if let Some(mistake) = yaml_diagnostics::mistake(&launch.run_config) {
            let line = mistake.line + 1;
            form.problems = vec![ConfigProblem {
                path: format!("line {line}"),
                message: mistake.text,
            }];
            form.field = Field::Config;
            return;
        }
        let query = Query::CheckConfig(Box::new(launch));
        form.checking = Some(self.query(query, effects));
    }

    /// Takes an answer (or a refusal) for the open form; `false` if it belongs to nothing in it.
    pub(super) fn form_reply(
        &mut self,
        request: u64,
        reply: &Reply,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(Overlay::LaunchForm(form)) = &mut self.overlay else {
            return false;
        };
        let about_job = matches!(form.detail, Loadable::Requested(pending) if pending == request)
            || form.renewing == Some(request);
        let about_partition = form.partition_config == PartitionConfig::Requested(request);
        match reply {
            Reply::Answer(answer) => match &**answer {
                Answer::Job(detail) if about_job => {
                    form.detail = Loadable::Known(detail.clone());
                    form.renewing = None;
                }
                Answer::PartitionConfig(text) if about_partition => {
                    form.partition_config = PartitionConfig::Known(text.clone());
                }
                Answer::CheckConfig(problems) if form.checking == Some(request) => {
                    form.checking = None;
                    form.problems.clone_from(problems);
                    if problems.is_empty() {
                        self.launch_form(now, effects);
                    } else {
                        form.field = Field::Config;
                    }
                }
                _ => return false,
            },
            Reply::Failed(reason) if about_job => {
                form.detail = Loadable::Failed(reason.clone());
                form.renewing = None;
            }
            Reply::Failed(_) if about_partition => {
                form.partition_config = PartitionConfig::Unknown;
                return false;
            }
            Reply::Failed(_) if form.checking == Some(request) => {
                form.checking = None;
                return false;
            }
            _ => return false,
        }
        true
    }

    fn launch_form(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(Overlay::LaunchForm(form)) = self.overlay.take()
            && let Ok(launch) = form.launch()
        {
            self.send(None, Command::LaunchRun(launch), now, effects);
        }
    }

    /// Takes the outcome of `$EDITOR`.
    pub(super) fn edited(&mut self, edited: Result<String, String>, now: Timestamp) {
        match edited {
            Err(reason) => self.toast(Tone::Failed, reason, now),
            Ok(text) => {
                if let Some(Overlay::LaunchForm(form)) = &mut self.overlay {
                    take_text(form, text);
                }
            }
        }
    }

    /// Inserts text that was pasted while the form is open.
    pub(super) fn paste_into_form(form: &mut LaunchForm, text: &str) {
        match &mut form.part {
            Part::Editor(editor) => drop(editor.insert_str(text)),
            Part::Pick { input, choice } => {
                input.paste(text);
                *choice = 0;
            }
            Part::Tags(_) => form.tags.paste(text),
            Part::Rows => {}
        }
    }
}

fn toggle(form: &mut LaunchForm, picked: Option<usize>) {
    let key: Option<AssetKey> = picked.and_then(|at| form.known()?.assets.get(at).cloned());
    if let Some(key) = key
        && !form.assets.remove(&key)
    {
        form.assets.insert(key);
    }
}

/// An editor with the text, and the cursor on the first line with an error, or at the end.
fn editor(form: &LaunchForm) -> TextArea<'static> {
    let mut editor = TextArea::from(form.text().lines());
    editor.set_tab_length(2);
    let marks = form.marks(form.text());
    let wrong = marks.first().and_then(|mark| u16::try_from(mark.line).ok());
    match wrong {
        Some(line) => editor.move_cursor(CursorMove::Jump(line, 0)),
        None => editor.move_cursor(CursorMove::Bottom),
    }
    editor.move_cursor(CursorMove::End);
    editor
}

/// Handles a key in the editor: Esc keeps the typed text, Ctrl-C discards it.
fn editor_key(key: Key, form: &mut LaunchForm, mut editor: Box<TextArea<'static>>) {
    match key.code {
        KeyCode::Esc => take_text(form, editor.lines().join("\n")),
        KeyCode::Char('c') if key.ctrl => {}
        code => {
            editor.input(ratatui_textarea::Input {
                key: editor_code(code),
                ctrl: key.ctrl,
                alt: key.alt,
                shift: false,
            });
            form.part = Part::Editor(editor);
        }
    }
}

fn editor_code(code: KeyCode) -> ratatui_textarea::Key {
    use ratatui_textarea::Key as Of;
    match code {
        KeyCode::Char(c) => Of::Char(c),
        KeyCode::Enter => Of::Enter,
        KeyCode::Backspace => Of::Backspace,
        KeyCode::Delete => Of::Delete,
        KeyCode::Tab => Of::Tab,
        KeyCode::Left => Of::Left,
        KeyCode::Right => Of::Right,
        KeyCode::Up => Of::Up,
        KeyCode::Down => Of::Down,
        KeyCode::Home => Of::Home,
        KeyCode::End => Of::End,
        KeyCode::PageUp => Of::PageUp,
        KeyCode::PageDown => Of::PageDown,
        _ => Of::Null,
    }
}

/// Takes the edited text. Unchanged text remains the job's own, and follows the partition.
fn take_text(form: &mut LaunchForm, text: String) {
    form.problems.clear();
    let is_own = form.own().trim() == text.trim();
    form.config = (!is_own).then_some(text);
    form.field = Field::Launch;
}
