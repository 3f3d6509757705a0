//! Layered settings: defaults < YAML file < environment < flags. Each value has its origin, so that
//! an error can name the line, the variable or the flag to change. `table` has a row for each
//! setting.

mod alarms;
mod check;
mod contexts;
mod document;
mod error;
mod file;
mod folders;
mod listen;
mod merge;
mod region;
mod rows;
mod table;
mod urls;
mod values;
pub mod yaml;

pub use alarms::{AlarmHook, AlarmSettings, HookTemplate};
pub use contexts::{Context, ContextColour};
pub use document::{flow, reference, sample, schema};
pub use error::{ConfigError, Problem};
pub use file::{File, parse, parse_yaml, read_file};
pub use folders::state_folder;
pub use listen::Listen;
pub use merge::{Layer, Origin, Setting};
pub use region::region_of_queue_url;
pub use rows::Row;
pub use table::{Partial, ROWS, Settings};
pub(crate) use values::flag_with;
pub use values::{Band, WorkerLost};

/// Default endpoint of the embedded broker.
pub const EMBEDDED_ENDPOINT: &str = "http://127.0.0.1:9324";

/// Default time for which other bands may keep a queue from being polled. If steps take up to half
/// a minute, one of any of three bands starts within two minutes.
pub const STARVATION_GUARD: std::time::Duration = std::time::Duration::from_mins(1);

/// Default base queue on the embedded broker.
pub const EMBEDDED_QUEUE: &str = "dagster-tasks";
