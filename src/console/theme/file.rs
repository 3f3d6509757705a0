//! The form of a theme file.

use ratatui::style::{Modifier, Style};
use serde::Deserialize;

use super::RolesPatch;
use super::color::{Depth, Paint};

/// A theme file: the extended theme, and the changed roles.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ThemeFile {
    /// Built-in name or path of the extended theme.
    pub(super) extends: Option<String>,
    /// Styles by role.
    #[serde(default)]
    pub(super) roles: RolesPatch,
}

/// The style of a role. It replaces the role's style in the extended theme as a whole.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the keys of a file format, not a state"
)]
pub(super) struct StylePatch {
    fg: Option<Paint>,
    bg: Option<Paint>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    reverse: bool,
}

impl StylePatch {
    pub(super) fn style(&self, depth: Depth) -> Style {
        let modifiers = [
            (self.bold, Modifier::BOLD),
            (self.dim, Modifier::DIM),
            (self.italic, Modifier::ITALIC),
            (self.underline, Modifier::UNDERLINED),
            (self.reverse, Modifier::REVERSED),
        ];
        let style = Style {
            fg: self.fg.map(|paint| paint.at(depth)),
            bg: self.bg.map(|paint| paint.at(depth)),
            ..Style::default()
        };
        modifiers
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .fold(style, |style, (_, modifier)| style.add_modifier(modifier))
    }
}
