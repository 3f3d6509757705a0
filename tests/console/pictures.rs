//! The pictures of the README, and the moments of a real demo that they show: the tests draw them,
//! `tests/load/record_demo.rs` records what they are drawn from.

use std::path::PathBuf;

use dagster_taskiq_tui::domain::{Answer, Query, Snapshot, Timestamp};
use serde::{Deserialize, Serialize};

/// A moment of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The demo's four runs are under way.
    UnderWay,
    /// Later: dead letters, a run that failed, more work than slots.
    Night,
    /// Then broker, webserver and worker stop answering.
    Trouble,
}

impl Moment {
    /// Where it is recorded.
    pub fn file(self) -> PathBuf {
        let name = match self {
            Self::UnderWay => "under_way",
            Self::Night => "night",
            Self::Trouble => "trouble",
        };
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/console/recorded");
        PathBuf::from(folder).join(name).with_extension("json")
    }
}

/// What a console knew at a moment, and what it was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recording {
    /// When.
    pub taken_at: Timestamp,
    /// How things stood.
    pub snapshot: Snapshot,
    /// What the keys of the moment's pictures asked for.
    pub answers: Vec<(Query, Answer)>,
}

/// Ticks after the keys of a picture, in which what was opened asks for all it shows.
pub const SETTLING: usize = 3;

/// A picture: file name, columns and rows, keys pressed before it is taken.
pub type Picture = (&'static str, (u16, u16), &'static str, Moment);

const LARGE: (u16, u16) = (200, 50);
const SMALL: (u16, u16) = (80, 24);

/// All of them.
pub const PICTURES: [Picture; 14] = [
    ("demo", LARGE, "1", Moment::UnderWay),
    ("demo-run", SMALL, "4/daily<enter><enter>", Moment::UnderWay),
    ("steps", LARGE, "3jjjj", Moment::UnderWay),
    ("overview", LARGE, "1", Moment::Night),
    ("overview-80x24", SMALL, "1", Moment::Night),
    ("queues", LARGE, "2j", Moment::Night),
    ("step", LARGE, "3/DiskFull<enter>j<enter>", Moment::Night),
    (
        "run",
        LARGE,
        "4/status:failure<enter><enter>",
        Moment::Night,
    ),
    ("workers", LARGE, "5", Moment::Night),
    ("logs", LARGE, "6", Moment::Night),
    ("dead-letters", LARGE, "7j", Moment::Night),
    (
        "launch",
        SMALL,
        "lregion_e<enter>kk<enter>fjo<enter>",
        Moment::Night,
    ),
    ("drain-queue", SMALL, "2jjXdagster-t", Moment::Night),
    ("trouble", LARGE, "1", Moment::Trouble),
];
