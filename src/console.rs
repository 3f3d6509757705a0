//! The operator's terminal console: a client of [`crate::fleet`].
//!
//! [`app::App`] is the model: it takes messages, returns effects and draws itself, without I/O. The
//! runtime owns the terminal and a thread of its own, so that neither a stalled terminal nor a
//! panic in drawing reaches the pool.

pub mod alarms;
pub mod app;
mod browser;
mod cli_equivalent;
pub mod command;
pub mod depth_history;
pub mod dump;
mod editor;
pub mod filter;
pub mod follow;
pub mod format;
mod frame_rate;
pub mod fuzzy;
pub mod glyphs;
pub mod input;
pub mod key;
pub mod keymap;
pub mod labels;
pub mod launch;
pub mod line;
mod notify;
pub mod options;
pub mod overlay;
pub mod plugins;
mod render;
pub mod rows;
mod runtime;
pub mod saved_state;
pub mod shown;
mod terminal;
pub mod text;
pub mod theme;
pub mod throughput;
pub mod toast;
pub mod tracebacks;
pub mod view;
pub mod yaml_diagnostics;

pub use notify::RingSettings;
pub use options::{ConsoleError, ConsoleOptions, ContextChoice, Exit, QuitPolicy, Startup};
pub use runtime::run;
pub use terminal::check as require_terminal;
