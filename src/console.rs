//! The operator's terminal console: a client of [`crate::control`].
//!
//! [`app::App`] is the model: it takes messages, returns effects and draws itself, without I/O. The
//! runtime owns the terminal and a thread of its own, so that neither a stalled terminal nor a
//! panic in drawing reaches the pool.

pub mod alarms;
pub mod app;
pub mod command;
pub mod days;
pub mod dump;
mod editor;
pub mod filter;
pub mod follow;
pub mod format;
pub mod fuzzy;
pub mod glyphs;
pub mod input;
pub mod key;
pub mod keymap;
pub mod launch;
pub mod line;
pub mod memory;
pub mod options;
pub mod overlay;
mod pace;
pub mod places;
mod render;
mod ringing;
pub mod rows;
mod runtime;
mod terminal;
pub mod text;
pub mod theme;
pub mod throughput;
pub mod toast;
mod twin;
pub mod view;
pub mod words;

pub use options::{ConsoleError, ConsoleOptions, Exit, QuitPolicy, Startup};
pub use ringing::RingSettings;
pub use runtime::run;
pub use terminal::check as require_terminal;
