//! Writes a buffer as an SVG picture: a rectangle per run of background, a text per run of style.

use std::fmt::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Width and height of a cell, in pixels: the advance and line height of `DejaVu Sans Mono`.
const CELL: (f32, f32) = (8.428, 16.3);
const FONT_SIZE: u8 = 14;

pub fn svg(buffer: &Buffer) -> String {
    let (columns, rows) = (buffer.area.width, buffer.area.height);
    let (width, height) = (f32::from(columns) * CELL.0, f32::from(rows) * CELL.1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.1} {height:.1}\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"{FONT_SIZE}\" xml:space=\"preserve\">\n"
    );
    let ground = background(&buffer[(0, 0)]);
    writeln!(
        svg,
        "<rect width=\"100%\" height=\"100%\" fill=\"{ground}\"/>"
    )
    .unwrap();
    for y in 0..rows {
        let mut x = 0;
        while x < columns {
            let end = run_end(buffer, x, y);
            let cell = &buffer[(x, y)];
            let (left, top) = (f32::from(x) * CELL.0, f32::from(y) * CELL.1);
            let span = f32::from(end - x) * CELL.0;
            let fill = background(cell);
            if fill != ground {
                writeln!(svg, "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{span:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>", CELL.1).unwrap();
            }
            text(&mut svg, buffer, (x, end, y));
            x = end;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn run_end(buffer: &Buffer, x: u16, y: u16) -> u16 {
    let style = buffer[(x, y)].style();
    (x..buffer.area.width)
        .find(|x| buffer[(*x, y)].style() != style)
        .unwrap_or(buffer.area.width)
}

fn text(svg: &mut String, buffer: &Buffer, (start, end, y): (u16, u16, u16)) {
    let symbols: String = (start..end).map(|x| buffer[(x, y)].symbol()).collect();
    let shown = symbols.trim_end();
    if shown.trim().is_empty() {
        return;
    }
    // The position is that of the first visible sign: spaces at the front are no text.
    let indent = u16::try_from(shown.len() - shown.trim_start().len()).unwrap();
    let cell = &buffer[(start, y)];
    let modifier = cell.modifier;
    let mut attributes = String::new();
    if modifier.contains(Modifier::BOLD) {
        attributes.push_str(" font-weight=\"bold\"");
    }
    if modifier.contains(Modifier::UNDERLINED) {
        attributes.push_str(" text-decoration=\"underline\"");
    }
    if modifier.contains(Modifier::DIM) {
        attributes.push_str(" opacity=\"0.6\"");
    }
    let (x, baseline) = (
        f32::from(start + indent) * CELL.0,
        f32::from(y) * CELL.1 + 13.0,
    );
    let columns = dagster_taskiq_tui::console::text::width(shown.trim_start());
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{baseline:.1}\" textLength=\"{:.1}\" fill=\"{}\"{attributes}>{}</text>",
        f32::from(columns) * CELL.0,
        foreground(cell),
        escape(shown.trim_start()),
    )
    .unwrap();
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn foreground(cell: &Cell) -> String {
    if cell.modifier.contains(Modifier::REVERSED) {
        hex(cell.bg, "#10151c")
    } else {
        hex(cell.fg, "#c9d1d9")
    }
}

fn background(cell: &Cell) -> String {
    if cell.modifier.contains(Modifier::REVERSED) {
        hex(cell.fg, "#c9d1d9")
    } else {
        hex(cell.bg, "#10151c")
    }
}

fn hex(color: Color, reset: &str) -> String {
    match color {
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        _ => reset.to_owned(),
    }
}
