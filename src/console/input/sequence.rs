//! Meaning of a whole sequence: a key, a mouse event, or nothing for the console.

use crossterm::event::{KeyCode, KeyModifiers};

use crate::console::app::Mouse;

/// Meaning of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SequenceEvent {
    Key(KeyCode, KeyModifiers),
    Mouse(Mouse),
    Nothing,
}

/// Event type of a key release in kitty's protocol.
const RELEASED: u32 = 3;

fn key(code: KeyCode) -> SequenceEvent {
    SequenceEvent::Key(code, KeyModifiers::empty())
}

/// Decodes `ESC O` and this byte.
pub(super) fn ss3(byte: u8) -> SequenceEvent {
    match byte {
        b'M' => key(KeyCode::Enter),
        b'I' => key(KeyCode::Tab),
        b'a'..=b'd' => key_of_letter(byte.to_ascii_uppercase())
            .map_or(SequenceEvent::Nothing, |code| {
                SequenceEvent::Key(code, KeyModifiers::CONTROL)
            }),
        // The keypad, in its application mode.
        b'j'..=b'y' => key(KeyCode::Char(char::from(byte - b'j' + b'*'))),
        b'X' => key(KeyCode::Char('=')),
        b'P'..=b'S' => key(KeyCode::F(byte - b'P' + 1)),
        _ => key_of_letter(byte).map_or(SequenceEvent::Nothing, key),
    }
}

/// Decodes `ESC [ [` and this byte.
pub(super) fn linux(byte: u8) -> SequenceEvent {
    match byte {
        b'A'..=b'E' => key(KeyCode::F(byte - b'A' + 1)),
        _ => SequenceEvent::Nothing,
    }
}

/// Whether these parameters are one number.
pub(super) fn is_number(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

/// Decodes `ESC [` and these bytes, the last of which is the final one.
pub(super) fn csi(bytes: &[u8]) -> SequenceEvent {
    let Some((&last, parameters)) = bytes.split_last() else {
        return SequenceEvent::Nothing;
    };
    let Ok(text) = std::str::from_utf8(parameters) else {
        return SequenceEvent::Nothing;
    };
    if let Some(text) = text.strip_prefix('<') {
        return mouse(text, last);
    }
    // Anything but numbers is a report: of modes, colours, capabilities.
    if !parameters
        .iter()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':'))
    {
        return SequenceEvent::Nothing;
    }
    let fields: Vec<Vec<Option<u32>>> = text
        .split(';')
        .map(|field| field.split(':').map(|part| part.parse().ok()).collect())
        .collect();
    let part = |field: usize, part: usize| -> Option<u32> { *fields.get(field)?.get(part)? };
    if part(1, 1) == Some(RELEASED) {
        return SequenceEvent::Nothing;
    }
    let modifiers = part(1, 0).map_or(KeyModifiers::empty(), modifiers);
    let plain = |code: Option<KeyCode>, more| match code {
        Some(code) => SequenceEvent::Key(code, modifiers | more),
        None => SequenceEvent::Nothing,
    };
    let number = part(0, 0);
    let none = KeyModifiers::empty();
    match last {
        // The report of the cursor's position has the same letter as F3.
        b'A'..=b'F' | b'H' | b'P' | b'Q' | b'S' if number.is_none_or(|number| number == 1) => {
            let code = match last {
                b'P' | b'Q' | b'S' => Some(KeyCode::F(last - b'P' + 1)),
                _ => key_of_letter(last),
            };
            plain(code, none)
        }
        b'Z' => plain(Some(KeyCode::BackTab), none),
        b'a'..=b'd' if parameters.is_empty() => plain(
            key_of_letter(last.to_ascii_uppercase()),
            KeyModifiers::SHIFT,
        ),
        b'~' if number == Some(27) => part(2, 0).map_or(SequenceEvent::Nothing, |code| {
            unicode(code, None, modifiers)
        }),
        b'~' => plain(number.and_then(key_of_number), none),
        b'$' => plain(number.and_then(key_of_number), KeyModifiers::SHIFT),
        b'^' | b'@' => plain(number.and_then(key_of_number), KeyModifiers::CONTROL),
        b'u' => number.map_or(SequenceEvent::Nothing, |code| {
            unicode(code, part(0, 1), modifiers)
        }),
        _ => SequenceEvent::Nothing,
    }
}

fn key_of_letter(letter: u8) -> Option<KeyCode> {
    Some(match letter {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        _ => return None,
    })
}

fn key_of_number(number: u32) -> Option<KeyCode> {
    let function = |from: u32, first: u32| u8::try_from(number - from + first).ok().map(KeyCode::F);
    match number {
        1 | 7 => Some(KeyCode::Home),
        2 => Some(KeyCode::Insert),
        3 => Some(KeyCode::Delete),
        4 | 8 => Some(KeyCode::End),
        5 => Some(KeyCode::PageUp),
        6 => Some(KeyCode::PageDown),
        11..=15 => function(11, 1),
        17..=21 => function(17, 6),
        23..=26 => function(23, 11),
        28..=29 => function(28, 15),
        31..=34 => function(31, 17),
        _ => None,
    }
}

fn modifiers(field: u32) -> KeyModifiers {
    let mask = field.saturating_sub(1);
    let mut modifiers = KeyModifiers::empty();
    for (bit, modifier) in [
        (1, KeyModifiers::SHIFT),
        (2, KeyModifiers::ALT),
        (4, KeyModifiers::CONTROL),
        // Meta.
        (32, KeyModifiers::ALT),
    ] {
        if mask & bit != 0 {
            modifiers |= modifier;
        }
    }
    modifiers
}

/// Decodes a key from its character, as in kitty's protocol and xterm's `modifyOtherKeys`;
/// `shifted` is the character with Shift, if reported.
fn unicode(code: u32, shifted: Option<u32>, modifiers: KeyModifiers) -> SequenceEvent {
    let code = match code {
        8 | 127 => KeyCode::Backspace,
        9 if modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
        9 => KeyCode::Tab,
        10 | 13 | 57_414 => KeyCode::Enter,
        27 => KeyCode::Esc,
        // The keypad.
        57_399..=57_408 => digit(code - 57_399),
        57_409 => KeyCode::Char('.'),
        57_410 => KeyCode::Char('/'),
        57_411 => KeyCode::Char('*'),
        57_412 => KeyCode::Char('-'),
        57_413 => KeyCode::Char('+'),
        57_415 => KeyCode::Char('='),
        57_417 => KeyCode::Left,
        57_418 => KeyCode::Right,
        57_419 => KeyCode::Up,
        57_420 => KeyCode::Down,
        57_421 => KeyCode::PageUp,
        57_422 => KeyCode::PageDown,
        57_423 => KeyCode::Home,
        57_424 => KeyCode::End,
        57_425 => KeyCode::Insert,
        57_426 => KeyCode::Delete,
        // Locks, media keys, modifiers by themselves.
        57_344..=63_743 | 0..32 => return SequenceEvent::Nothing,
        _ => {
            let is_shifted = modifiers.contains(KeyModifiers::SHIFT);
            let shown = shifted.filter(|_| is_shifted).unwrap_or(code);
            match char::from_u32(shown) {
                Some(c) if is_shifted && c.is_ascii_lowercase() => {
                    KeyCode::Char(c.to_ascii_uppercase())
                }
                Some(c) => KeyCode::Char(c),
                None => return SequenceEvent::Nothing,
            }
        }
    };
    SequenceEvent::Key(code, modifiers)
}

fn digit(number: u32) -> KeyCode {
    char::from_digit(number, 10).map_or(KeyCode::Null, KeyCode::Char)
}

/// Decodes a mouse report, `ESC [ <` and these numbers.
fn mouse(text: &str, last: u8) -> SequenceEvent {
    let mut numbers = text.split(';').map(str::parse::<u16>);
    let (Some(Ok(button)), Some(Ok(x)), Some(Ok(y)), None) = (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) else {
        return SequenceEvent::Nothing;
    };
    // Shift, Alt and Control are ignored; a movement is not a click.
    let mouse = match (button & !0b1_1100, last) {
        (0, b'M') => Mouse::Click(x.saturating_sub(1), y.saturating_sub(1)),
        (64, b'M') => Mouse::WheelUp,
        (65, b'M') => Mouse::WheelDown,
        _ => return SequenceEvent::Nothing,
    };
    SequenceEvent::Mouse(mouse)
}
