//! Drives a whole console by key strings and reads its screen.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use dagster_taskiq_tui::config::ContextColour;
use dagster_taskiq_tui::console::app::{App, Caret, Effect, Message, Setup};
use dagster_taskiq_tui::console::glyphs;
use dagster_taskiq_tui::console::key;
use dagster_taskiq_tui::console::options::QuitPolicy;
use dagster_taskiq_tui::console::theme::{Depth, Theme};
use dagster_taskiq_tui::console::{ContextChoice, RingSettings};
use dagster_taskiq_tui::domain::{
    AlarmKind, Answer, Command, Query, Reply, Ring, Snapshot, Timestamp,
};
use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::fixture;
use super::pictures::{Recording, SETTLING};

/// A console without a terminal.
pub struct Harness {
    pub app: App,
    pub now: Timestamp,
    pub size: (u16, u16),
    pub effects: Vec<Effect>,
    /// What questions are answered with; without it the fixture answers.
    answers: Option<Vec<(Query, Answer)>>,
}

/// How it is set up.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent properties of a terminal"
)]
#[derive(Clone, Copy)]
pub struct Options {
    pub size: (u16, u16),
    pub depth: Depth,
    pub theme: &'static str,
    pub ascii: bool,
    pub read_only: bool,
    pub reduced_motion: bool,
    pub has_desktop: bool,
    pub quit: QuitPolicy,
    pub ring: &'static [Ring],
    /// The context that it shows, of two.
    pub context: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size: (80, 24),
            depth: Depth::True,
            theme: "dark",
            ascii: false,
            read_only: false,
            reduced_motion: false,
            has_desktop: false,
            quit: QuitPolicy::Leave,
            ring: &[],
            context: None,
        }
    }
}

impl Options {
    /// Two contexts, where one is shown.
    fn contexts(self) -> Vec<ContextChoice> {
        let Some(shown) = self.context else {
            return Vec::new();
        };
        let colours = [
            ("production", ContextColour::Red),
            ("staging", ContextColour::Green),
        ];
        let choice = |(name, colour): (&str, ContextColour)| ContextChoice {
            name: name.to_owned(),
            colour: Some(colour),
            is_current: name == shown,
        };
        colours.map(choice).into()
    }
}

impl Harness {
    pub fn new(options: Options, snapshot: Arc<Snapshot>) -> Self {
        Self::at(fixture::now(), options, snapshot)
    }

    /// At 80x24 on the night's snapshot, in a zone of its own.
    pub fn in_zone(zone: &str) -> Self {
        let zone = TimeZone::get(zone).unwrap();
        Self::with_zone(
            fixture::now(),
            Options::default(),
            fixture::snapshot(),
            zone,
        )
    }

    /// As [`Self::new`], at another moment.
    pub fn at(now: Timestamp, options: Options, snapshot: Arc<Snapshot>) -> Self {
        Self::with_zone(now, options, snapshot, TimeZone::UTC)
    }

    fn with_zone(
        now: Timestamp,
        options: Options,
        snapshot: Arc<Snapshot>,
        zone: TimeZone,
    ) -> Self {
        let setup = Setup {
            read_only: options.read_only,
            context: String::from("demo"),
            contexts: options.contexts(),
            quit: options.quit,
            glyphs: if options.ascii {
                &glyphs::ASCII
            } else {
                &glyphs::UNICODE
            },
            depth: options.depth,
            has_desktop: options.has_desktop,
            zone,
            reduced_motion: options.reduced_motion,
            ring: RingSettings {
                how: options.ring.to_vec(),
                kinds: AlarmKind::USUAL.to_vec(),
            },
        };
        let theme = Theme::load(options.theme, options.depth).unwrap();
        let mut harness = Self {
            app: App::new(setup, theme),
            now,
            size: options.size,
            effects: Vec::new(),
            answers: None,
        };
        harness.tell(Message::Resize(options.size.0, options.size.1));
        harness.tell(Message::Snapshot(snapshot));
        harness
    }

    /// A console at a moment of the demo.
    pub fn replay(options: Options, recording: Recording) -> Self {
        let snapshot = Arc::new(recording.snapshot);
        let mut harness = Self::at(recording.taken_at, options, snapshot);
        harness.answers = Some(recording.answers);
        harness
    }

    /// At 80x24 on the night's snapshot.
    pub fn night() -> Self {
        Self::new(Options::default(), fixture::snapshot())
    }

    pub fn tell(&mut self, message: Message) {
        let effects = self.app.update(message, self.now);
        self.effects.extend(effects);
    }

    /// Presses keys; gives the effects of all of them.
    pub fn keys(&mut self, keys: &str) -> Vec<Effect> {
        self.effects.clear();
        for key in key::parse(keys) {
            self.tell(Message::Key(key));
            self.answer();
        }
        self.effects.clone()
    }

    /// Answers what was asked and can be answered: of queues as a worker with the embedded broker
    /// does, in a replay as it was answered then. An answer may lead to another question.
    fn answer(&mut self) {
        loop {
            let answers = self.answers.as_deref();
            let answered = |query: &Query| match answers {
                Some(answers) => {
                    let known = answers.iter().find(|(asked, _)| asked == query);
                    known.map(|(_, answer)| answer.clone())
                }
                None => fixture::answer(query),
            };
            let found = self.effects.iter().enumerate().find_map(|(at, effect)| {
                let Effect::Request {
                    request,
                    command: Command::Query(query),
                    ..
                } = effect
                else {
                    return None;
                };
                Some((at, *request, answered(query)?))
            });
            let Some((at, request, answer)) = found else {
                return;
            };
            self.effects.remove(at);
            let reply = Reply::Answer(Box::new(answer));
            self.tell(Message::Reply { request, reply });
        }
    }

    /// Lets what was opened ask for all it shows.
    pub fn settle(&mut self) {
        for _ in 0..SETTLING {
            self.tell(Message::Tick);
            self.answer();
        }
    }

    /// Presses keys; gives the commands sent and to whom.
    pub fn commands(&mut self, keys: &str) -> Vec<(Option<String>, Command)> {
        let effects = self.keys(keys).into_iter();
        effects
            .filter_map(|effect| match effect {
                Effect::Request {
                    worker, command, ..
                } => Some((worker, command)),
                _ => None,
            })
            .collect()
    }

    pub fn buffer(&self) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, self.size.0, self.size.1));
        self.app.render_to(&mut buffer, self.now);
        buffer
    }

    /// Where the cursor of the terminal would stand.
    pub fn caret(&self) -> Option<Caret> {
        let mut buffer = Buffer::empty(Rect::new(0, 0, self.size.0, self.size.1));
        self.app.render_to(&mut buffer, self.now)
    }

    pub fn screen(&self) -> String {
        text(&self.buffer())
    }
}

pub use dagster_taskiq_tui::console::dump::lines as text;

/// A compact map of the styles: a letter per style, runs of them per line, and a legend.
pub fn styles(buffer: &Buffer) -> String {
    let mut letters: BTreeMap<String, char> = BTreeMap::new();
    let mut next = 'a'..='z';
    let mut more = 'A'..='Z';
    let mut map = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        for x in 0..buffer.area.width {
            let style = describe(buffer[(x, y)].style());
            let letter = if style.is_empty() {
                '.'
            } else {
                *letters
                    .entry(style)
                    .or_insert_with(|| next.next().or_else(|| more.next()).unwrap_or('?'))
            };
            line.push(letter);
        }
        map.push_str(&runs(&line));
        map.push('\n');
    }
    let mut legend: Vec<_> = letters
        .into_iter()
        .map(|(style, letter)| (letter, style))
        .collect();
    legend.sort_by_key(|(letter, _)| (letter.is_uppercase(), *letter));
    for (letter, style) in legend {
        writeln!(map, "{letter} = {style}").unwrap();
    }
    map
}

/// `aaab` as `3a b`.
fn runs(line: &str) -> String {
    let mut runs: Vec<(char, usize)> = Vec::new();
    for c in line.chars() {
        match runs.last_mut() {
            Some((last, count)) if *last == c => *count += 1,
            _ => runs.push((c, 1)),
        }
    }
    let shown: Vec<String> = runs
        .into_iter()
        .map(|(c, count)| {
            if count == 1 {
                c.to_string()
            } else {
                format!("{count}{c}")
            }
        })
        .collect();
    shown.join(" ")
}

fn describe(style: Style) -> String {
    let mut parts = Vec::new();
    let color = |color: Option<Color>| color.filter(|color| *color != Color::Reset);
    parts.extend(color(style.fg).map(|fg| fg.to_string()));
    parts.extend(color(style.bg).map(|bg| format!("on {bg}")));
    if style.add_modifier != Modifier::empty() {
        parts.push(format!("{:?}", style.add_modifier));
    }
    parts.join(" ")
}
