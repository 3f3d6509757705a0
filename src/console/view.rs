//! The console's views. Each has a file in this folder with all there is to say about it: its rows,
//! their columns, and how it is drawn.
//!
//! A new view is such a file, a row of `views!`, and the command that shows it, in
//! `command/table.rs`.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::app::App;
use super::filter::Filter;
use super::render::Ctx;
use super::render::detail::Page;
use super::render::table::Column;
use super::rows::{RowId, Sort};
use super::shown::Shown;
use crate::domain::LogLevel;

pub(super) mod audit;
pub(super) mod dagster;
pub(super) mod dead_letters;
pub(super) mod failures;
pub(super) mod logs;
pub(super) mod overview;
pub(super) mod queues;
pub(super) mod runs;
pub(super) mod steps;
pub(super) mod table;
pub(super) mod workers;

/// Makes [`View`] of the views and their files.
macro_rules! views {
    ($($(#[$doc:meta])* $view:ident in $file:ident,)*) => {
        /// One view.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum View {
            $($(#[$doc])* $view,)*
        }

        impl View {
            /// All of them, by digit.
            pub const ALL: [Self; [$(stringify!($view)),*].len()] = [$(Self::$view),*];

            /// What its file says about it.
            pub(super) fn spec(self) -> &'static dyn Spec {
                match self {
                    $(Self::$view => &$file::$view,)*
                }
            }
        }
    };
}

// In the order of their digits.
views! {
    /// Shows whether and where anything is stuck.
    Overview in overview,
    /// Queues with counts, bands and dead letters.
    Queues in queues,
    /// Steps and run workers: in flight, then recent.
    Steps in steps,
    /// Dagster's runs.
    Runs in runs,
    /// Worker processes, slots, warm hosts.
    Workers in workers,
    /// Log lines of workers and steps.
    Logs in logs,
    /// Messages that no worker could run.
    DeadLetters in dead_letters,
    /// Commands on this host, with their users.
    Audit in audit,
    /// Failures by exception and job.
    Failures in failures,
    /// Whether Dagster itself works.
    Dagster in dagster,
}

impl View {
    /// The tab's title.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.spec().title()
    }

    /// The digit that shows it.
    #[must_use]
    pub fn digit(self) -> usize {
        (self.index() + 1) % 10
    }

    /// Its position, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|view| *view == self).unwrap_or(0)
    }

    /// The view `by` places further on, around the end.
    #[must_use]
    pub fn step(self, by: usize) -> Self {
        Self::ALL[(self.index() + by) % Self::ALL.len()]
    }
}

/// A view, as the console sees it. The rows of its list are known by their position.
///
/// A view that is a table implements [`table::Table`] instead, and is a `Spec` by that.
pub(super) trait Spec: Sync {
    /// Title of its tab and panel.
    fn title(&self) -> &'static str;

    /// The title for narrow tabs.
    fn short_title(&self) -> &'static str {
        self.title()
    }

    /// The figure beside its tab: the number of its live items.
    fn tab_count(&self, _ctx: Ctx) -> Option<Span<'static>> {
        None
    }

    /// Number of its rows before filter and level.
    fn total(&self, shown: &Shown) -> usize;

    /// Whether its list is identical in both: then its rows need not be computed again.
    fn is_same(&self, one: &Shown, other: &Shown) -> bool;

    /// What identifies a row, whatever its position.
    fn id_at<'a>(&self, shown: &'a Shown, index: usize) -> Option<RowId<'a>>;

    /// Whether all of its rows are shown without a filter.
    fn shows_all(&self) -> bool {
        true
    }

    /// Whether a row is shown with this filter and level of log lines.
    fn matches(&self, filter: &Filter, level: LogLevel, shown: &Shown, index: usize) -> bool;

    /// The names of its filter fields.
    fn fields(&self) -> Vec<&'static str>;

    /// The titles of its orders.
    fn orders(&self) -> Vec<&'static str>;

    /// The order in which it is shown as long as none is chosen; `None` is the list's own.
    fn default_sort(&self) -> Option<Sort> {
        None
    }

    /// Sorts positions of its list; equal rows keep the list's order. Positions that are nearly
    /// sorted are faster.
    fn sort(&self, sort: Sort, shown: &Shown, picked: &mut [usize]);

    /// Arranges the rows that match a filter, while no order is chosen.
    fn arrange(&self, _shown: &Shown, _picked: &mut [usize]) {}

    /// The columns of its table; none if it is not a table.
    fn columns(&self) -> Vec<Column> {
        Vec::new()
    }

    /// The cells of a row, one per column.
    fn cells<'a>(&self, _ctx: Ctx<'a>, _index: usize) -> Vec<Line<'a>> {
        Vec::new()
    }

    /// All known data of a row.
    fn value_at(&self, shown: &Shown, index: usize) -> Option<serde_json::Value>;

    /// A row in words, within a sentence.
    fn about(&self, shown: &Shown, index: usize) -> Option<String>;

    /// Adds the details of a row to a page. Returns the page's title.
    fn detail(&self, page: &mut Page, index: usize) -> Option<String>;

    /// Draws it.
    fn render(&self, ctx: Ctx, body: Rect, buf: &mut Buffer);

    /// The area of its rows, below one line of header; `None` if a row may take several lines.
    fn list_area(&self, app: &App, body: Rect) -> Option<Rect>;

    /// Number of rows that are visible at once.
    fn page_rows(&self, app: &App, body: Rect) -> u16 {
        let area = self.list_area(app, body);
        area.map_or(0, |area| area.height.saturating_sub(1))
    }
}

/// The titles of a view's columns that can be hidden: all with a title but the first.
pub(super) fn optional_columns(view: View) -> Vec<&'static str> {
    let titles = view
        .spec()
        .columns()
        .into_iter()
        .map(|column| column.title());
    titles.filter(|title| !title.is_empty()).skip(1).collect()
}
