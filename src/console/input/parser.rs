//! Parses a terminal's bytes into keys: a state machine that finds the end of a sequence even if it
//! does not know its meaning, and that never waits for an end without a limit.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyModifiers};

use super::sequence::{self, SequenceEvent};
use super::{ESC_WAITS, InputEvent};
use crate::console::key::Key;

/// Time limit for the rest of a sequence that has begun: half a sequence is not a key, and over a
/// slow line its bytes arrive separately.
const REST_WAITS: Duration = Duration::from_millis(500);

/// Maximum duration of an unfinished report, however quickly its bytes come.
const REPORT_TAKES: Duration = Duration::from_secs(3);

/// Maximum number of bytes of a sequence that are parsed; of a longer one only the end is detected.
const MAX_SEQUENCE: usize = 64;

/// Maximum number of bytes of a paste that are kept.
const MAX_PASTE: usize = 1 << 20;

/// End marker of a bracketed paste.
const PASTE_END: &[u8] = b"\x1b[201~";

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

/// State after the bytes so far.
#[derive(Clone, Debug, Default)]
enum State {
    /// Nothing.
    #[default]
    Ground,
    /// A character of several bytes.
    Char { bytes: Vec<u8>, alt: bool },
    /// Esc, or a sequence.
    Escape,
    /// A second Esc: Esc and Esc, or Alt and a sequence.
    Twice,
    /// `ESC O`.
    Ss3 { alt: bool },
    /// `ESC [`.
    Csi { bytes: Vec<u8>, alt: bool },
    /// `ESC [ [`, a function key of the Linux console.
    Linux { alt: bool },
    /// `ESC [ M` and three bytes of the oldest mouse report.
    OldMouse { left: u8 },
    /// A terminal's reply, up to its terminator: OSC (which BEL ends, too), DCS, APC, PM or SOS by
    /// their second byte.
    Report { kind: u8, len: usize },
    /// Esc within it, the first byte of its terminator.
    ReportEsc { kind: u8, len: usize },
    /// Text between brackets.
    Paste { bytes: Vec<u8> },
}

/// Parser of a terminal's bytes.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    /// Times at which the state began, and at which its last byte came.
    since: Option<(Instant, Instant)>,
    /// Time at which a lone Esc was taken for the key.
    esc_at: Option<Instant>,
    events: Vec<InputEvent>,
}

fn is_printed(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e)
}

impl Parser {
    /// Parses the bytes of one read; returns the input events. Unfinished sequences are kept.
    pub fn feed(&mut self, bytes: &[u8], now: Instant) -> Vec<InputEvent> {
        self.expire_into(now);
        let mut bytes = bytes;
        // The rest of a sequence whose Esc came too early: it cannot have been typed within one
        // read.
        let late = self.esc_at.take();
        if matches!(self.state, State::Ground)
            && late.is_some_and(|at| now.duration_since(at) < REST_WAITS)
            && let [first @ (b'[' | b']'), _, ..] = bytes
        {
            self.escape(*first, false);
            bytes = &bytes[1..];
        }
        for byte in bytes {
            self.byte(*byte);
        }
        self.since = match (&self.state, self.since) {
            (State::Ground, _) => None,
            (_, Some((began, _))) if !bytes.is_empty() => Some((began, now)),
            (_, since) => since.or(Some((now, now))),
        };
        std::mem::take(&mut self.events)
    }

    /// Time at which [`Self::expire`] is due; `None` while nothing is unfinished.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let (began, last) = self.since?;
        let quiet = match self.state {
            State::Ground => return None,
            State::Escape | State::Twice => last + ESC_WAITS,
            _ => last + REST_WAITS,
        };
        // The duration of a paste is not limited.
        let is_report = matches!(self.state, State::Report { .. } | State::ReportEsc { .. });
        Some(if is_report {
            quiet.min(began + REPORT_TAKES)
        } else {
            quiet
        })
    }

    /// Ends a sequence that did not continue in time.
    pub fn expire(&mut self, now: Instant) -> Vec<InputEvent> {
        self.expire_into(now);
        std::mem::take(&mut self.events)
    }

    fn expire_into(&mut self, now: Instant) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        self.since = None;
        match std::mem::take(&mut self.state) {
            State::Ground
            | State::Char { .. }
            | State::OldMouse { .. }
            | State::Report { .. }
            | State::ReportEsc { len: 1.., .. } => {}
            State::Escape => {
                self.key(KeyCode::Esc, false);
                self.esc_at = Some(now);
            }
            State::Twice => {
                self.key(KeyCode::Esc, false);
                self.key(KeyCode::Esc, false);
                self.esc_at = Some(now);
            }
            // Nothing followed: these were the keys themselves, with Alt.
            State::ReportEsc { kind, .. } => {
                self.key(KeyCode::Char(char::from(kind)), true);
                self.key(KeyCode::Esc, false);
            }
            State::Ss3 { alt } => self.broken(alt, true, 'O'),
            State::Csi { bytes, alt } => self.broken(alt, bytes.is_empty(), '['),
            State::Linux { alt } => self.broken(alt, false, '['),
            State::Paste { bytes } => self.pasted(&bytes),
        }
    }

    /// Handles a sequence that never ended. An Esc before it was a key.
    fn broken(&mut self, alt: bool, is_chord: bool, c: char) {
        if alt {
            self.key(KeyCode::Esc, false);
        }
        if is_chord {
            self.key(KeyCode::Char(c), true);
        }
    }

    fn byte(&mut self, byte: u8) {
        match std::mem::take(&mut self.state) {
            State::Ground => self.ground(byte, false),
            State::Char { mut bytes, alt } => {
                if byte & 0xc0 == 0x80 {
                    bytes.push(byte);
                    self.char(bytes, alt);
                } else {
                    self.ground(byte, false);
                }
            }
            State::Escape if byte == ESC => self.state = State::Twice,
            State::Escape => self.escape(byte, false),
            State::Twice => match byte {
                ESC => {
                    self.key(KeyCode::Esc, false);
                    self.state = State::Twice;
                }
                b'[' | b'O' => self.escape(byte, true),
                _ => {
                    self.key(KeyCode::Esc, false);
                    self.escape(byte, false);
                }
            },
            State::Ss3 { alt } => {
                if is_printed(byte) {
                    self.emit(sequence::ss3(byte), alt);
                } else {
                    self.broken(alt, true, 'O');
                    self.ground(byte, false);
                }
            }
            State::Csi { bytes, alt } => self.csi(byte, bytes, alt),
            State::Linux { alt } => {
                if is_printed(byte) {
                    self.emit(sequence::linux(byte), alt);
                } else {
                    self.broken(alt, false, '[');
                    self.ground(byte, false);
                }
            }
            State::OldMouse { .. } if byte < 0x20 => self.ground(byte, false),
            State::OldMouse { left: 1 } => {}
            State::OldMouse { left } => self.state = State::OldMouse { left: left - 1 },
            State::Report { kind, len } => self.report(byte, kind, len),
            State::ReportEsc { kind, len } => match byte {
                b'\\' => {}
                ESC => self.state = State::ReportEsc { kind, len },
                // The sequence broke off, and another has begun.
                _ => self.escape(byte, false),
            },
            State::Paste { mut bytes } => {
                if bytes.len() < MAX_PASTE || !PASTE_END.starts_with(&[byte]) {
                    bytes.push(byte);
                }
                if bytes.ends_with(PASTE_END) {
                    bytes.truncate(bytes.len() - PASTE_END.len());
                    self.pasted(&bytes);
                } else {
                    self.state = State::Paste { bytes };
                }
            }
        }
    }

    fn ground(&mut self, byte: u8, alt: bool) {
        let ctrl = |c: u8| {
            InputEvent::Key(Key {
                code: KeyCode::Char(char::from(c)),
                ctrl: true,
                alt,
            })
        };
        match byte {
            ESC => self.state = State::Escape,
            b'\r' => self.key(KeyCode::Enter, alt),
            b'\t' => self.key(KeyCode::Tab, alt),
            0x7f => self.key(KeyCode::Backspace, alt),
            0 => self.events.push(ctrl(b' ')),
            0x01..=0x1a => self.events.push(ctrl(byte - 1 + b'a')),
            0x1c..=0x1f => self.events.push(ctrl(byte - 0x1c + b'4')),
            0x20..=0x7e => self.key(KeyCode::Char(char::from(byte)), alt),
            _ => self.char(vec![byte], alt),
        }
    }

    /// Handles the bytes of a character so far.
    fn char(&mut self, bytes: Vec<u8>, alt: bool) {
        match std::str::from_utf8(&bytes) {
            Ok(text) => {
                for c in text.chars() {
                    self.key(KeyCode::Char(c), alt);
                }
            }
            // Incomplete so far.
            Err(error) if error.error_len().is_none() => self.state = State::Char { bytes, alt },
            // A terminal of another encoding.
            Err(_) => {}
        }
    }

    /// Handles the byte after Esc; `alt`: after a second one.
    fn escape(&mut self, byte: u8, alt: bool) {
        match byte {
            b'[' => {
                let bytes = Vec::new();
                self.state = State::Csi { bytes, alt };
            }
            b'O' => self.state = State::Ss3 { alt },
            b']' | b'P' | b'_' | b'^' | b'X' => {
                self.state = State::Report { kind: byte, len: 0 };
            }
            // The end of a report whose beginning was read elsewhere.
            b'\\' => {}
            _ => self.ground(byte, true),
        }
    }

    fn csi(&mut self, byte: u8, mut bytes: Vec<u8>, alt: bool) {
        let is_first = bytes.is_empty();
        match byte {
            b'[' if is_first => self.state = State::Linux { alt },
            b'M' if is_first => self.state = State::OldMouse { left: 3 },
            // rxvt ends some keys with it; otherwise it is in the middle of a report.
            b'$' if sequence::is_number(&bytes) => {
                bytes.push(byte);
                self.emit(sequence::csi(&bytes), alt);
            }
            0x20..=0x3f => {
                if bytes.len() < MAX_SEQUENCE {
                    bytes.push(byte);
                }
                self.state = State::Csi { bytes, alt };
            }
            0x40..=0x7e => {
                if bytes == b"200" && byte == b'~' {
                    self.state = State::Paste { bytes: Vec::new() };
                    return;
                }
                // A truncated sequence has no meaning.
                let decoded = if bytes.len() < MAX_SEQUENCE {
                    bytes.push(byte);
                    sequence::csi(&bytes)
                } else {
                    SequenceEvent::Nothing
                };
                self.emit(decoded, alt);
            }
            // The sequence broke off.
            _ => {
                self.broken(alt, false, '[');
                self.ground(byte, false);
            }
        }
    }

    fn report(&mut self, byte: u8, kind: u8, len: usize) {
        match byte {
            BEL if kind == b']' => {}
            ESC => self.state = State::ReportEsc { kind, len },
            // Ctrl-C ends any sequence; so do CAN and SUB, by the standard.
            0x03 => self.ground(byte, false),
            0x18 | 0x1a => {}
            _ => {
                let len = len.saturating_add(1);
                self.state = State::Report { kind, len };
            }
        }
    }

    fn emit(&mut self, decoded: SequenceEvent, alt: bool) {
        match decoded {
            SequenceEvent::Key(code, modifiers) => {
                let ctrl = modifiers.contains(KeyModifiers::CONTROL);
                let alt = alt || modifiers.contains(KeyModifiers::ALT);
                self.events.push(InputEvent::Key(Key { code, ctrl, alt }));
            }
            // What follows is not a key, so the Esc before it was one.
            SequenceEvent::Mouse(_) | SequenceEvent::Nothing if alt => {
                self.key(KeyCode::Esc, false);
            }
            SequenceEvent::Mouse(_) | SequenceEvent::Nothing => {}
        }
        if let SequenceEvent::Mouse(mouse) = decoded {
            self.events.push(InputEvent::Mouse(mouse));
        }
    }

    fn key(&mut self, code: KeyCode, alt: bool) {
        let key = Key::plain(code);
        self.events.push(InputEvent::Key(Key { alt, ..key }));
    }

    fn pasted(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.events.push(InputEvent::Paste(text));
    }
}
