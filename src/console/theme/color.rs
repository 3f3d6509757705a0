//! Colours: their names in theme files, and their reduction to the terminal's colours.

use std::env;
use std::fmt;
use std::str::FromStr;

use ratatui::style::Color;
use serde::{Deserialize, Deserializer, de};

/// Number of colours of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// None: bold, dim, underline and reverse only.
    Mono,
    /// The terminal's own sixteen.
    Ansi16,
    /// The 256 of xterm.
    Ansi256,
    /// 24 bits.
    True,
}

impl Depth {
    /// Depth from the environment: `NO_COLOR`, then `COLORTERM`, then `TERM`.
    #[must_use]
    pub fn from_environment() -> Self {
        let value = |name| env::var(name).unwrap_or_default();
        Self::from_values(&value("NO_COLOR"), &value("COLORTERM"), &value("TERM"))
    }

    fn from_values(no_color: &str, color_term: &str, term: &str) -> Self {
        if !no_color.is_empty() || is_without_colours(term) {
            Self::Mono
        } else if matches!(color_term, "truecolor" | "24bit") || term.ends_with("-direct") {
            Self::True
        } else if term.contains("256color") || KNOWS_256.contains(&base(term)) {
            Self::Ansi256
        } else {
            Self::Ansi16
        }
    }
}

/// Terminals with 256 colours whose name does not show it.
const KNOWS_256: [&str; 11] = [
    "alacritty",
    "contour",
    "foot",
    "ghostty",
    "iterm2",
    "kitty",
    "mintty",
    "rio",
    "st",
    "tmux",
    "wezterm",
];

/// The name of a terminal without the prefix `xterm-` and its variant.
fn base(term: &str) -> &str {
    let term = term.strip_prefix("xterm-").unwrap_or(term);
    term.split('-').next().unwrap_or(term)
}

/// Whether it is a terminal without colours, such as those of DEC.
fn is_without_colours(term: &str) -> bool {
    let names = [
        "dumb",
        "ansi-m",
        "xterm-mono",
        "linux-m",
        "screen-m",
        "sun",
        "wy",
    ];
    let is_vt = term
        .strip_prefix("vt")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    is_vt && !term.starts_with("vt525") || names.contains(&term) || term.starts_with("wy")
}

/// A colour as a theme file names it: `default`, one of the terminal's sixteen (`red`,
/// `bright-red`), a number from 0 to 255, or `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint(Color);

const SIXTEEN: [(&str, Color, (u8, u8, u8)); 16] = [
    ("black", Color::Black, (0, 0, 0)),
    ("red", Color::Red, (205, 0, 0)),
    ("green", Color::Green, (0, 205, 0)),
    ("yellow", Color::Yellow, (205, 205, 0)),
    ("blue", Color::Blue, (0, 0, 238)),
    ("magenta", Color::Magenta, (205, 0, 205)),
    ("cyan", Color::Cyan, (0, 205, 205)),
    ("white", Color::Gray, (229, 229, 229)),
    ("bright-black", Color::DarkGray, (127, 127, 127)),
    ("bright-red", Color::LightRed, (255, 0, 0)),
    ("bright-green", Color::LightGreen, (0, 255, 0)),
    ("bright-yellow", Color::LightYellow, (255, 255, 0)),
    ("bright-blue", Color::LightBlue, (92, 92, 255)),
    ("bright-magenta", Color::LightMagenta, (255, 0, 255)),
    ("bright-cyan", Color::LightCyan, (0, 255, 255)),
    ("bright-white", Color::White, (255, 255, 255)),
];

/// xterm's six levels of each part of its colour cube.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

impl Paint {
    /// The nearest colour the terminal has.
    pub(super) fn at(self, depth: Depth) -> Color {
        match (self.0, depth) {
            (_, Depth::Mono) => Color::Reset,
            (Color::Rgb(r, g, b), Depth::Ansi256) => Color::Indexed(nearest_256((r, g, b))),
            (Color::Rgb(r, g, b), Depth::Ansi16) => nearest_16((r, g, b)),
            (Color::Indexed(index), Depth::Ansi16) => nearest_16(rgb_of(index)),
            (color, _) => color,
        }
    }
}

impl FromStr for Paint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "default" {
            return Ok(Self(Color::Reset));
        }
        if let Some((_, color, _)) = SIXTEEN.iter().find(|(name, ..)| *name == text) {
            return Ok(Self(*color));
        }
        if let Ok(index) = text.parse() {
            return Ok(Self(Color::Indexed(index)));
        }
        let hex = text
            .strip_prefix('#')
            .filter(|hex| hex.len() == 6 && hex.is_ascii());
        hex.and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .map(|rgb| {
                let [_, r, g, b] = rgb.to_be_bytes();
                Self(Color::Rgb(r, g, b))
            })
            .ok_or_else(|| {
                format!(
                    "`{text}` is no colour: use default, a name such as red or bright-blue, 0 to 255, or #rrggbb"
                )
            })
    }
}

impl<'de> Deserialize<'de> for Paint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Paint;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a colour")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Paint, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, index: u64) -> Result<Paint, E> {
                index.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

type Rgb = (u8, u8, u8);

fn distance(a: Rgb, b: Rgb) -> u32 {
    let part = |a: u8, b: u8| u32::from(a.abs_diff(b)).pow(2);
    part(a.0, b.0) + part(a.1, b.1) + part(a.2, b.2)
}

fn nearest_16(rgb: Rgb) -> Color {
    SIXTEEN
        .iter()
        .min_by_key(|(_, _, candidate)| distance(rgb, *candidate))
        .map_or(Color::Reset, |(_, color, _)| *color)
}

fn nearest_256(rgb: Rgb) -> u8 {
    (16..=255)
        .min_by_key(|index| distance(rgb, rgb_of(*index)))
        .unwrap_or(15)
}

fn rgb_of(index: u8) -> Rgb {
    match index {
        0..16 => SIXTEEN[usize::from(index)].2,
        16..232 => {
            let at = |part: u8| CUBE[usize::from(part % 6)];
            let index = index - 16;
            (at(index / 36), at(index / 6), at(index))
        }
        232..=255 => {
            let level = 8 + (index - 232) * 10;
            (level, level, level)
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed parse is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn colours_are_reduced_to_what_the_terminal_has() {
        let orange: Paint = "#ff8700".parse().unwrap();
        assert_eq!(orange.at(Depth::True), Color::Rgb(255, 135, 0));
        assert_eq!(orange.at(Depth::Ansi256), Color::Indexed(208));
        assert_eq!(orange.at(Depth::Ansi16), Color::Yellow);
        assert_eq!(orange.at(Depth::Mono), Color::Reset);
    }

    #[test]
    fn no_color_goes_before_everything_the_terminal_claims() {
        let depth = Depth::from_values;
        assert_eq!(depth("1", "truecolor", "xterm-256color"), Depth::Mono);
        assert_eq!(depth("", "truecolor", "xterm-256color"), Depth::True);
        assert_eq!(depth("", "", "tmux-256color"), Depth::Ansi256);
        for (term, expected) in [
            ("linux", Depth::Ansi16),
            ("xterm", Depth::Ansi16),
            ("screen", Depth::Ansi16),
            ("rxvt", Depth::Ansi16),
            ("screen-256color", Depth::Ansi256),
            ("tmux", Depth::Ansi256),
            ("alacritty", Depth::Ansi256),
            ("foot-extra", Depth::Ansi256),
            ("xterm-ghostty", Depth::Ansi256),
            ("wezterm", Depth::Ansi256),
            ("xterm-direct", Depth::True),
            ("xterm-kitty", Depth::Ansi256),
            ("vt100", Depth::Mono),
            ("vt220", Depth::Mono),
            ("vt420", Depth::Mono),
            ("dumb", Depth::Mono),
            ("ansi", Depth::Ansi16),
        ] {
            assert_eq!(depth("", "", term), expected, "{term}");
        }
    }
}
