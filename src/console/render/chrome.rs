//! The surroundings of every view: header, tabs, hint bar, toasts.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::Ctx;
use super::paint::{self, Align, span};
use crate::config::ContextColour;
use crate::console::command::{self, CommandRow, Verb};
use crate::console::format::{self, coarse_age, seconds_between};
use crate::console::theme::Depth;
use crate::console::toast::Tone;
use crate::console::view::View;
use crate::console::{keymap, labels, text};
use crate::domain::{Source, SourceHealth, SourceKind};

const PRODUCT: &str = "dagster-taskiq";

/// Product and context at the left; a badge per source, and the zone of all times, at the right. Where
/// that is too much, the product's name is left out before a word about a source.
pub(super) fn header(ctx: Ctx, area: Rect, buf: &mut Buffer) {
    let (named, bare) = (head(ctx, true), head(ctx, false));
    let zoned = |room: Room| {
        let mut line = badges(ctx, room);
        let zone = format::zone(ctx.now, &ctx.app.setup.zone);
        line.push_span(span(format!("  {zone}"), ctx.roles.dim));
        line
    };
    let ways = [
        (&named, Room::Wide),
        (&named, Room::Retries),
        (&bare, Room::Retries),
        (&bare, Room::Words),
        (&bare, Room::Letters),
    ];
    let mut ways = ways
        .into_iter()
        .map(|(left, room)| (left, zoned(room)))
        .chain(std::iter::once_with(|| (&bare, badges(ctx, Room::Letters))))
        .chain(std::iter::once_with(|| (&named, trouble(ctx))))
        .chain(std::iter::once_with(|| (&bare, trouble(ctx))));
    let fits = |(left, badges): &(&Line, Line)| {
        paint::line_width(left) + 3 + paint::line_width(badges) <= area.width
    };
    let (left, badges) = ways.find(fits).unwrap_or((&named, Line::default()));
    let at = Rect {
        width: area.width.saturating_sub(1),
        ..area
    };
    paint::line(ctx, buf, at, &badges, Align::Right);
    paint::line(ctx, buf, area, left, Align::Left);
}

/// The left of the head line: the product's name if there is room, and what is looked at and done.
fn head(ctx: Ctx<'_>, with_product: bool) -> Line<'_> {
    let roles = ctx.roles;
    let mut left = Vec::new();
    let mut contexts = ctx.app.setup.contexts.iter();
    if let Some(context) = contexts.find(|context| context.is_current) {
        // First: it is read even where the rest has no room.
        let name = format!(" {} ", context.name);
        left.push(span(" ", roles.text));
        left.push(span(name, name_style(ctx.app.setup.depth, context.colour)));
    }
    if with_product {
        left.push(span(format!(" {PRODUCT}"), roles.product));
    }
    if !ctx.app.setup.context.is_empty() {
        left.push(span(format!("  {}", ctx.app.setup.context), roles.strong));
    }
    if ctx.app.setup.read_only {
        left.push(span("  read-only", roles.warn));
    }
    if let Some(batch) = ctx.app.batch() {
        left.push(span(format!("  {}", batch.note()), roles.info));
    }
    if let Some(rolling) = ctx.app.rolling() {
        left.push(span(format!("  {}", rolling.note()), roles.info));
    }
    if let Some(running) = ctx.app.running_plugins() {
        left.push(span(format!("  {running}"), roles.info));
    }
    Line::from(left)
}

/// Style of the context's name: reversed, so that it is seen without colours, too.
fn name_style(depth: Depth, colour: Option<ContextColour>) -> Style {
    let style = Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED);
    let colour = match colour.filter(|_| depth != Depth::Mono) {
        None => return style,
        Some(ContextColour::Red) => Color::Red,
        Some(ContextColour::Yellow) => Color::Yellow,
        Some(ContextColour::Green) => Color::Green,
        Some(ContextColour::Cyan) => Color::Cyan,
        Some(ContextColour::Blue) => Color::Blue,
        Some(ContextColour::Magenta) => Color::Magenta,
    };
    style.fg(colour)
}

/// Content of the badges by available room, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    /// Addresses.
    Wide,
    /// Time of the next retry of a source that is down.
    Retries,
    /// Words.
    Words,
    /// A letter each.
    Letters,
}

/// The sources: sign, word, and the age of a silent source's data.
fn badges(ctx: Ctx, room: Room) -> Line<'static> {
    let (words, addresses) = (room <= Room::Words, room == Room::Wide);
    let retries = room <= Room::Retries;
    let mut line: Vec<Span> = Vec::new();
    let alone = ctx
        .snapshot
        .sources
        .iter()
        .filter(|s| !matches!(s.kind, SourceKind::Worker | SourceKind::Host))
        .filter(|s| s.health != SourceHealth::Absent);
    for source in alone {
        let word = self::labels::source(source.kind);
        let address = if addresses {
            format!(" {}", source.address)
        } else {
            String::new()
        };
        badge(
            ctx,
            &mut line,
            source,
            if words {
                format!("{word}{address}")
            } else {
                word[..1].to_owned()
            },
            retries,
        );
    }
    line.extend(lost_daemons(ctx, !line.is_empty()));
    line.extend(paused_queues(ctx, !line.is_empty()));
    for (kind, letter) in [(SourceKind::Host, 'h'), (SourceKind::Worker, 'w')] {
        let several = ctx.snapshot.sources.iter().filter(|s| s.kind == kind);
        let several: Vec<&Source> = several.collect();
        let is_up = |source: &&&Source| source.health == SourceHealth::Up;
        let up = several.iter().filter(is_up).count();
        if let Some(worst) = several.iter().max_by_key(|source| badness(&source.health)) {
            let count = format!("{up}/{}", several.len());
            let name = if words {
                format!("{}s {count}", self::labels::source(kind))
            } else {
                format!("{letter} {count}")
            };
            badge(ctx, &mut line, worst, name, retries);
        }
    }
    Line::from(line)
}

/// Dagster's daemons that should run and do not.
fn lost_daemons(ctx: Ctx, follows: bool) -> Vec<Span<'static>> {
    let (glyphs, style) = (ctx.glyphs, ctx.roles.error);
    let name = match ctx.snapshot.lost_daemons.as_slice() {
        [] => return Vec::new(),
        [one] => {
            let age = one.at.map(|at| coarse_age(seconds_between(at, ctx.now)));
            let name = one.name.to_lowercase().replace('_', " ");
            let name = name.trim_end_matches(" daemon");
            format!("{name} daemon {} {}", one.state, age.unwrap_or_default())
        }
        several => {
            let silent = several.iter().all(|daemon| daemon.state == "silent");
            let state = if silent { "silent" } else { "dead" };
            format!("{} daemons {state}", several.len())
        }
    };
    let gap = if follows { "  " } else { "" };
    vec![
        Span::raw(gap),
        span(format!("{} {}", glyphs.down, name.trim_end()), style),
    ]
}

/// Number of paused queues: a pause must not be forgotten.
fn paused_queues(ctx: Ctx, follows: bool) -> Vec<Span<'static>> {
    let count = ctx.snapshot.paused_queues.len();
    if count == 0 {
        return Vec::new();
    }
    let text = format!(
        "{} {} paused",
        ctx.glyphs.paused,
        labels::plural(count, "queue")
    );
    let gap = if follows { "  " } else { "" };
    vec![Span::raw(gap), span(text, ctx.roles.warn)]
}

/// The source in the worst state, and the number of other bad ones, if there is no room for badges.
/// The data shown are old then.
fn trouble(ctx: Ctx) -> Line<'static> {
    let sources = ctx.snapshot.sources.iter();
    let mut ill = sources.filter(|source| source.health.problem().is_some());
    let Some(first) = ill.next() else {
        return Line::default();
    };
    let (sign, style) = ctx.source_sign(&first.health);
    let more = match ill.count() {
        0 => String::new(),
        more => format!(" +{more}"),
    };
    let word = labels::source(first.kind);
    Line::from(span(format!("{sign} {word}{more}"), style))
}

fn badness(health: &SourceHealth) -> u8 {
    match health {
        SourceHealth::Absent => 0,
        SourceHealth::Up => 1,
        SourceHealth::Connecting => 2,
        SourceHealth::Failing { .. } => 3,
        SourceHealth::Down { .. } => 4,
    }
}

fn badge(ctx: Ctx, line: &mut Vec<Span>, source: &Source, name: String, retries: bool) {
    let (sign, style) = ctx.source_sign(&source.health);
    if !line.is_empty() {
        line.push(Span::raw("  "));
    }
    line.push(span(format!("{sign} "), style));
    let calm = if source.health == SourceHealth::Up {
        ctx.roles.text
    } else {
        style
    };
    line.push(span(name, calm));
    let word = match &source.health {
        SourceHealth::Down { .. } => " down",
        SourceHealth::Failing { .. } => " errors",
        SourceHealth::Connecting => " connecting",
        SourceHealth::Absent | SourceHealth::Up => "",
    };
    line.push(span(word, style));
    let fails = source.health.problem().is_some();
    if let Some(at) = source.seen_at.filter(|_| fails) {
        let age = coarse_age(seconds_between(at, ctx.now));
        line.push(span(format!(" {age}"), style));
    }
    if let Some(at) = source.retry_at.filter(|_| fails && retries) {
        let retry = format::retry(at, ctx.now);
        line.push(span(format!(", {retry}"), style));
    }
}

/// The views, with their counts; on a narrow screen only the current one has its name.
pub(super) fn tabs(ctx: Ctx, area: Rect, buf: &mut Buffer) {
    paint::line(ctx, buf, area, &tabs_for(ctx, area.width), Align::Left);
}

/// The view whose tab is at a column.
pub(super) fn tab_at(ctx: Ctx, area: Rect, x: u16) -> Option<View> {
    let mut end = area.x;
    let mut views = View::ALL.into_iter();
    let mut here = None;
    for span in tabs_for(ctx, area.width).spans {
        end = end.saturating_add(text::width(&span.content));
        // A tab begins with a blank and its digit; a figure beside a tab does not.
        let digit = span
            .content
            .strip_prefix(' ')
            .and_then(|rest| rest.chars().next());
        if digit.is_some_and(|c| c.is_ascii_digit()) {
            here = views.next();
        }
        if x < end {
            return here;
        }
    }
    None
}

fn tabs_for(ctx: Ctx, width: u16) -> Line<'static> {
    let wide = tab_line(ctx, |view| Some(view.title()), true, false);
    let named = tab_line(ctx, |view| Some(view.title()), false, false);
    let narrow = tab_line(ctx, |view| Some(view.spec().short_title()), false, true);
    let here = |view| view == ctx.app.view();
    let short = tab_line(ctx, |view| here(view).then(|| view.title()), false, false);
    let fitting = [wide, named, narrow]
        .into_iter()
        .find(|line| paint::line_width(line) <= width);
    fitting.unwrap_or(short)
}

/// The tabs; `tight` ones have a blank at their end only where they are active.
fn tab_line(
    ctx: Ctx,
    named: impl Fn(View) -> Option<&'static str>,
    counted: bool,
    tight: bool,
) -> Line<'static> {
    let roles = ctx.roles;
    let mut line = vec![Span::raw(" ")];
    for view in View::ALL {
        let active = view == ctx.app.view();
        let style = if active { roles.tab_active } else { roles.tab };
        let title = named(view).map_or_else(String::new, |title| format!(" {title}"));
        let after = if tight && !active { "" } else { " " };
        line.push(span(format!(" {}{title}{after}", view.digit()), style));
        if let Some(count) = view.spec().tab_count(ctx).filter(|_| counted) {
            let count_style = if active { style } else { count.style };
            line.push(span(format!("{} ", count.content), count_style));
        }
    }
    Line::from(line)
}

/// The keys of this view; help and quit always, the others as far as they fit.
pub(super) fn hints(ctx: Ctx, area: Rect, buf: &mut Buffer) {
    let last = |row: &&CommandRow| matches!(row.verb, Verb::Help | Verb::Quit);
    let mut tail = vec![Span::raw(" ")];
    for row in command::hints(ctx.app.view()).filter(last) {
        tail.extend(hint(ctx, row));
    }
    let tail_width = paint::line_width(&Line::from(tail.clone()));
    let mut line = vec![Span::raw(" ")];
    let mut width = 1;
    // The operator's own commands first: they were written for this view.
    let view = ctx.app.view();
    let own = ctx.app.keymap.own().iter().copied();
    let own = own.filter(|row| row.scope.covers(view) && !row.keys.is_empty());
    for row in own.chain(command::hints(view).filter(|row| !last(row))) {
        let spans = hint(ctx, row);
        let hint_width = paint::line_width(&Line::from(spans.to_vec()));
        if width + hint_width + tail_width <= area.width {
            width += hint_width;
            line.extend(spans);
        }
    }
    line.extend(tail.into_iter().skip(1));
    if !ctx.app.pending.is_empty() {
        let keys = keymap::shown(&ctx.app.pending);
        line = vec![
            span(format!(" {keys}"), ctx.roles.key),
            span(
                format!(" {}  Esc gives up", ctx.glyphs.ellipsis),
                ctx.roles.hint,
            ),
        ];
    }
    paint::line(ctx, buf, area, &Line::from(line), Align::Left);
}

fn hint(ctx: Ctx, row: &CommandRow) -> [Span<'static>; 2] {
    let key = ctx.app.keymap.first_key_of(row);
    let refused = ctx.app.setup.read_only && row.danger != crate::domain::Danger::Safe;
    let key_style = if refused {
        ctx.roles.dim
    } else {
        ctx.roles.key
    };
    [
        span(key, key_style),
        span(format!(" {}  ", row.hint(ctx.app.view())), ctx.roles.hint),
    ]
}

/// Maximum number of lines of a toast: enough for a sentence with a path, and the view stays
/// visible.
const TOAST_LINES: usize = 4;

/// The toasts, over the end of the body.
pub(super) fn toasts(ctx: Ctx, body: Rect, buf: &mut Buffer) {
    let mut bottom = body.bottom();
    for toast in ctx.app.toasts().iter().rev() {
        let (sign, style) = match toast.tone {
            Tone::Sent => (ctx.glyphs.pending, ctx.roles.info),
            Tone::Done => (ctx.glyphs.done, ctx.roles.ok),
            Tone::Note => (ctx.glyphs.separator, ctx.roles.info),
            Tone::Failed => (ctx.glyphs.down, ctx.roles.error),
        };
        let text = crate::console::text::clean(&toast.text);
        // Beside the sign and the blanks at both ends.
        let parts = crate::console::text::wrap(&text, body.width.saturating_sub(4).max(8));
        let lines: Vec<Line> = parts
            .iter()
            .take(TOAST_LINES)
            .enumerate()
            .map(|(index, part)| {
                let sign = if index == 0 { sign } else { " " };
                Line::from(vec![
                    span(format!(" {sign} "), style),
                    span(*part, ctx.roles.strong),
                    Span::raw(" "),
                ])
            })
            .collect();
        let width = lines.iter().map(paint::line_width).max().unwrap_or(0);
        let width = width.min(body.width);
        let height = u16::try_from(lines.len()).unwrap_or(1);
        if bottom < body.y + height {
            return;
        }
        bottom -= height;
        let area = Rect {
            x: body.right() - width,
            y: bottom,
            width,
            height,
        };
        paint::clear(ctx, buf, area);
        paint::lines(ctx, buf, area, &lines);
    }
}
