//! Themes: one style per role, read from YAML, reduced to the terminal's colours.
//!
//! The built-in themes are the files of `themes/`, embedded. A theme may extend another and name
//! only the roles it changes; an unknown key is an error with its line.

mod color;
mod file;

use std::path::Path;

use ratatui::style::{Modifier, Style};

pub use color::Depth;
use file::ThemeFile;

use super::options::ConsoleError;
use crate::config::yaml;

/// The built-in themes: name and YAML.
pub const BUILT_IN: [(&str, &str); 6] = [
    ("default", include_str!("../../themes/default.yaml")),
    ("dark", include_str!("../../themes/dark.yaml")),
    ("light", include_str!("../../themes/light.yaml")),
    (
        "high-contrast",
        include_str!("../../themes/high-contrast.yaml"),
    ),
    ("mono", include_str!("../../themes/mono.yaml")),
    (
        "colour-blind",
        include_str!("../../themes/colour-blind.yaml"),
    ),
];

/// Maximum depth of themes that extend another; more is a cycle.
const MAX_EXTENDS: usize = 8;

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident,)+) => {
        /// Styles of everything that is drawn, by role.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Roles {
            $($(#[$doc])* pub $role: Style,)+
        }

        /// Styles of some roles, over those of another theme.
        #[derive(Clone, Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct RolesPatch {
            $($role: Option<file::StylePatch>,)+
        }

        impl Roles {
            /// The names of the roles, as theme files spell them.
            pub const NAMES: &[&str] = &[$(stringify!($role),)+];

            fn patch(&mut self, patch: &RolesPatch, depth: Depth) {
                $(if let Some(style) = &patch.$role {
                    self.$role = style.style(depth);
                })+
            }
        }
    };
}

roles! {
    /// Ordinary text, and the screen's background.
    text,
    /// Less important text: units, labels, old items.
    dim,
    /// The important part of a line.
    strong,
    /// The product's name.
    product,
    /// A view's tab.
    tab,
    /// The tab of the view on the screen.
    tab_active,
    /// A panel's title.
    title,
    /// Frames and rules.
    border,
    /// A table's head.
    header,
    /// The row under the cursor.
    cursor,
    /// A key in hints and help.
    key,
    /// A description of the key in hints and help.
    hint,
    /// Well.
    ok,
    /// Worth knowing.
    info,
    /// Needs a look.
    warn,
    /// Wrong.
    error,
    /// Running.
    running,
    /// Received, waits for a slot.
    held,
    /// Waiting in a queue.
    waiting,
    /// The full part of a bar or gauge.
    gauge,
    /// The rest of it.
    gauge_empty,
    /// A sparkline.
    spark,
    /// An input line.
    input,
    /// The frame of a box that lies over the view.
    overlay_border,
}

/// A theme, ready to draw with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Built-in name, or the path it came from.
    pub name: String,
    /// Its styles.
    pub roles: Roles,
}

impl Theme {
    /// Loads a theme by built-in name, or from a YAML file. Without colours (`Depth::Mono`) every
    /// theme is the built-in `mono`.
    ///
    /// # Errors
    /// The file cannot be read, or is not a theme; the message names the line.
    pub fn load(name: &str, depth: Depth) -> Result<Self, ConsoleError> {
        let name = if depth == Depth::Mono { "mono" } else { name };
        let roles = roles_of(name, depth, MAX_EXTENDS)?;
        let name = name.to_owned();
        Ok(Self { name, roles })
    }

    /// A built-in theme; `None` if there is none of that name.
    #[must_use]
    pub fn built_in(name: &str, depth: Depth) -> Option<Self> {
        BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Self::load(name, depth).ok()
    }
}

fn roles_of(name: &str, depth: Depth, extends_left: usize) -> Result<Roles, ConsoleError> {
    let invalid = |reason: String| ConsoleError::Theme {
        name: name.to_owned(),
        reason,
    };
    let text = match BUILT_IN.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => (*text).to_owned(),
        None if looks_like_path(name) => {
            std::fs::read_to_string(name).map_err(|source| ConsoleError::ThemeFile {
                path: name.into(),
                source,
            })?
        }
        None => {
            let known = BUILT_IN.map(|(known, _)| known).join(", ");
            return Err(invalid(format!(
                "there is no such theme: use one of {known}, or the path of a .yaml file"
            )));
        }
    };
    let file: ThemeFile = yaml::read(&text).map_err(invalid)?;
    let mut roles = match &file.extends {
        None => Roles::default(),
        Some(_) if extends_left == 0 => {
            return Err(invalid(format!(
                "its `extends` goes further than {MAX_EXTENDS} themes"
            )));
        }
        Some(base) => roles_of(base, depth, extends_left - 1)?,
    };
    roles.patch(&file.roles, depth);
    Ok(roles)
}

fn looks_like_path(name: &str) -> bool {
    name.contains('/') || Path::new(name).extension().is_some()
}

/// `style` with bold added.
#[must_use]
pub fn bold(style: Style) -> Style {
    style.add_modifier(Modifier::BOLD)
}
