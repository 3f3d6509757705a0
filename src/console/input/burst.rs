//! Text pasted by a terminal without bracketed paste: many keys in one read.

use std::time::{Duration, Instant};

use crossterm::event::KeyCode;

use super::InputEvent;
use crate::console::key::Key;

/// Number of different consecutive keys in one read that cannot have been typed. A key that is held
/// down counts once.
const MANY: usize = 5;

/// Time after such a read within which further input belongs to the same paste.
const REST: Duration = Duration::from_millis(100);

/// Detector of pastes without brackets.
#[derive(Debug, Default)]
pub(super) struct Bursts {
    /// Time at which the last part of a paste was read.
    last: Option<Instant>,
}

impl Bursts {
    /// Replaces the keys of a paste in one read's input by text.
    pub(super) fn sift(&mut self, inputs: Vec<InputEvent>, now: Instant) -> Vec<InputEvent> {
        let goes_on = self
            .last
            .is_some_and(|last| now.duration_since(last) < REST);
        let mut sifted = Vec::new();
        let mut keys = Vec::new();
        let mut found = false;
        for input in inputs {
            if let InputEvent::Key(key) = input
                && text(key).is_some()
            {
                keys.push(key);
                continue;
            }
            found |= flush(&mut keys, goes_on, &mut sifted);
            sifted.push(input);
        }
        found |= flush(&mut keys, goes_on, &mut sifted);
        if found {
            self.last = Some(now);
        }
        sifted
    }
}

/// Whether the input may be the beginning of a paste that is too short to be recognised.
pub(super) fn may_go_on(inputs: &[InputEvent]) -> bool {
    let keys = inputs.iter().rev().map_while(|input| match input {
        InputEvent::Key(key) => text(*key).is_some().then_some(*key),
        _ => None,
    });
    let mut keys: Vec<Key> = keys.collect();
    keys.dedup();
    (2..MANY).contains(&keys.len())
}

/// Passes keys on, as text if they are a paste; returns whether they were.
fn flush(keys: &mut Vec<Key>, goes_on: bool, sifted: &mut Vec<InputEvent>) -> bool {
    let mut changes: Vec<Key> = keys.clone();
    changes.retain(|key| key.typed().is_some());
    changes.dedup();
    let is_paste = !keys.is_empty() && (goes_on || changes.len() >= MANY);
    if is_paste {
        let pasted = keys.drain(..).filter_map(text).collect();
        sifted.push(InputEvent::Paste(pasted));
    } else {
        sifted.extend(keys.drain(..).map(InputEvent::Key));
    }
    is_paste
}

/// The character of a pasted text that arrived as this key.
fn text(key: Key) -> Option<char> {
    match key.code {
        KeyCode::Enter => Some('\n'),
        KeyCode::Tab => Some('\t'),
        // Line feed.
        KeyCode::Char('j') if key.ctrl && !key.alt => Some('\n'),
        _ => key.typed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::key;

    fn keys(text: &str) -> Vec<InputEvent> {
        key::parse(text).into_iter().map(InputEvent::Key).collect()
    }

    #[test]
    fn many_keys_of_one_read_are_a_paste_and_so_is_what_follows_at_once() {
        let (mut bursts, start) = (Bursts::default(), Instant::now());
        let paste = |text: &str| vec![InputEvent::Paste(text.to_owned())];
        assert_eq!(
            bursts.sift(keys("prod-pool<enter>"), start),
            paste("prod-pool\n")
        );
        let soon = start + REST / 2;
        assert_eq!(bursts.sift(keys("rd"), soon), paste("rd"));
        let later = soon + REST;
        assert_eq!(bursts.sift(keys("rd"), later), keys("rd"));
    }

    #[test]
    fn a_key_held_down_and_a_few_keys_ahead_are_keys() {
        let (mut bursts, now) = (Bursts::default(), Instant::now());
        for typed in [
            "jjjjjjjjjjjj",
            "jjjjjkkkkkjjjjj",
            "3j<enter>q",
            "<down><down><up><down><up>",
        ] {
            assert_eq!(bursts.sift(keys(typed), now), keys(typed));
        }
    }
}
