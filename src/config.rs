//! Layered settings: defaults < YAML file < environment < flags. Each value knows where it came
//! from, so that an error can name the line, the variable or the flag to change.

mod file;
mod folders;
mod partial;
mod region;
mod settings;

pub use file::{ConfigError, parse_yaml, read_file};
pub use folders::state_folder;
pub use partial::{Band, Partial, WorkerLost};
pub use region::{is_loopback, region_of_queue_url};
pub use settings::{Origin, Setting, Settings, from_environment};

/// Where the embedded broker listens when nobody says otherwise.
pub const EMBEDDED_ENDPOINT: &str = "http://127.0.0.1:9324";

/// How long other bands may keep a queue from being asked when nobody says otherwise: where steps
/// take up to half a minute, one of any of three bands starts within two minutes.
pub const STARVATION_GUARD: std::time::Duration = std::time::Duration::from_mins(1);

/// The base queue on the embedded broker when nobody says otherwise.
pub const EMBEDDED_QUEUE: &str = "dagster-tasks";
