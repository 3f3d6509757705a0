//! The overview: whether anything is stuck, and where.
//!
//! ```text
//! status        alarms and late steps, or that there are none
//! queues        | priority × queue
//! workers       | throughput
//! in flight     | recent failures
//! ```

mod matrix;
mod panels;
mod status;

use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::Spec;
use super::steps::Steps;
use crate::console::app::App;
use crate::console::filter::Filter;
use crate::console::render::detail::Page;
use crate::console::render::{Ctx, ROOMY, is_roomy, panel};
use crate::console::rows::{RowId, Sort};
use crate::console::shown::Shown;
use crate::domain::{LogLevel, Snapshot, TaskView};

/// Layout of the overview. Heights depend on the number of alarms, queues and workers only, so that
/// nothing jumps while figures change.
struct Regions {
    framed: bool,
    status: Rect,
    queues: Rect,
    matrix: Rect,
    workers: Rect,
    throughput: Rect,
    in_flight: Rect,
    failures: Rect,
}

/// Desired rows of content in each band of panels.
fn needed_rows(snapshot: &Snapshot) -> (u16, u16) {
    let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let queues = count(snapshot.queues.len()).clamp(3, 8) + 1;
    let workers = count(snapshot.workers.len()).clamp(1, 6) + 1;
    (queues, workers)
}

impl Regions {
    fn of(app: &App, body: Rect) -> Self {
        let snapshot = &app.snapshot;
        let framed = is_roomy(body);
        let (queues, workers) = needed_rows(snapshot);
        let chrome = if framed { 2 } else { 1 };
        let lines = app.standing.len() + status::notes(snapshot);
        let alarms = u16::try_from(lines).unwrap_or(u16::MAX);
        let heights = if framed {
            // One row in three of the additional height of a tall screen.
            let most = 3 + (body.height - ROOMY) / 3;
            let alarms = alarms.clamp(3, most);
            [
                alarms + chrome,
                queues.max(7) + chrome,
                workers.max(4) + chrome,
            ]
        } else if body.height >= 18 {
            [
                alarms.clamp(1, 3) + 1,
                queues.min(5) + chrome,
                workers.min(3) + chrome,
            ]
        } else if body.height >= 11 {
            [1, queues.min(3) + chrome, chrome + 1]
        } else {
            [1.min(body.height), 0, 0]
        };
        let mut y = body.y;
        let mut take = |height: u16| {
            let height = height.min(body.bottom() - y);
            let band = Rect { y, height, ..body };
            y += height;
            band
        };
        let (status, middle, lower) = (take(heights[0]), take(heights[1]), take(heights[2]));
        let rest = take(u16::MAX);
        let (queues, matrix) = beside(middle, 52);
        let (workers, throughput) = beside(lower, 52);
        let (in_flight, failures) = if framed {
            beside(rest, 68)
        } else if rest.height >= 9 {
            above(rest, 3)
        } else {
            (rest, Rect::default())
        };
        Self {
            framed,
            status,
            queues,
            matrix,
            workers,
            throughput,
            in_flight,
            failures,
        }
    }
}

/// Two areas beside each other, the left one with `percent` of the width.
fn beside(area: Rect, percent: u32) -> (Rect, Rect) {
    let left = u16::try_from(u32::from(area.width) * percent / 100).unwrap_or(area.width);
    let gap = 1.min(area.width - left);
    (
        Rect {
            width: left,
            ..area
        },
        Rect {
            x: area.x + left + gap,
            width: area.width - left - gap,
            ..area
        },
    )
}

/// Two areas on top of each other, the lower one `height` rows high.
fn above(area: Rect, height: u16) -> (Rect, Rect) {
    let upper = area.height.saturating_sub(height);
    (
        Rect {
            height: upper,
            ..area
        },
        Rect {
            y: area.y + upper,
            height: area.height - upper,
            ..area
        },
    )
}

/// The overview.
pub(super) struct Overview;

/// Its list is the beginning of the list of steps: those in flight.
impl Spec for Overview {
    fn title(&self) -> &'static str {
        "Overview"
    }

    fn short_title(&self) -> &'static str {
        "Over"
    }

    fn total(&self, shown: &Shown) -> usize {
        shown.tasks.len()
    }

    fn is_same(&self, one: &Shown, other: &Shown) -> bool {
        Arc::ptr_eq(&one.tasks, &other.tasks)
    }

    fn id_at<'a>(&self, shown: &'a Shown, index: usize) -> Option<RowId<'a>> {
        Steps.id_at(shown, index)
    }

    fn matches(&self, filter: &Filter, level: LogLevel, shown: &Shown, index: usize) -> bool {
        Steps.matches(filter, level, shown, index)
    }

    fn fields(&self) -> Vec<&'static str> {
        Steps.fields()
    }

    fn orders(&self) -> Vec<&'static str> {
        Steps.orders()
    }

    fn default_sort(&self) -> Option<Sort> {
        // Running tasks by duration, longest first, then held ones.
        Some(Sort::MAIN)
    }

    fn sort(&self, sort: Sort, shown: &Shown, picked: &mut [usize]) {
        Steps.sort(sort, shown, picked);
        // A step that is late is on top, also among longer runs: its stack is one key away.
        let is_late = |index: &usize| shown.tasks.get(*index).is_some_and(TaskView::is_late);
        picked.sort_by_key(|index| !is_late(index));
    }

    fn value_at(&self, shown: &Shown, index: usize) -> Option<serde_json::Value> {
        Steps.value_at(shown, index)
    }

    fn about(&self, shown: &Shown, index: usize) -> Option<String> {
        Spec::about(&Steps, shown, index)
    }

    fn detail(&self, page: &mut Page, index: usize) -> Option<String> {
        Spec::detail(&Steps, page, index)
    }

    fn render(&self, ctx: Ctx, body: Rect, buf: &mut Buffer) {
        let regions = Regions::of(ctx.app, body);
        let framed = regions.framed;
        status::render(ctx, regions.status, framed, buf);
        panels::queues(ctx, regions.queues, framed, buf);
        matrix::render(ctx, regions.matrix, framed, buf);
        panels::workers(ctx, regions.workers, framed, buf);
        panels::throughput(ctx, regions.throughput, framed, buf);
        panels::in_flight(ctx, regions.in_flight, framed, buf);
        panels::failures(ctx, regions.failures, framed, buf);
    }

    fn list_area(&self, app: &App, body: Rect) -> Option<Rect> {
        let regions = Regions::of(app, body);
        Some(panel::within(regions.in_flight, regions.framed))
    }
}
