//! The mouse, for users who turn it on: a click shows a view or moves the cursor, and so does the
//! wheel.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

use super::{App, Effect};
use crate::console::command::Motion;
use crate::console::render::{self, Spot};

/// Rows per notch of the wheel.
const NOTCH: usize = 3;

/// A mouse event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mouse {
    /// The left button was pressed, at a column and a row from 0.
    Click(u16, u16),
    /// The wheel was turned towards the top.
    WheelUp,
    /// The wheel was turned towards the end.
    WheelDown,
}

impl Mouse {
    /// Converts an event of the terminal's mouse; `None` if the console does not use it.
    #[must_use]
    pub fn from_event(event: MouseEvent) -> Option<Self> {
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) => Some(Self::Click(event.column, event.row)),
            MouseEventKind::ScrollUp => Some(Self::WheelUp),
            MouseEventKind::ScrollDown => Some(Self::WheelDown),
            _ => None,
        }
    }
}

impl App {
    /// Handles a mouse event; overlays only take keys.
    pub(super) fn take_mouse(&mut self, mouse: Mouse, effects: &mut Vec<Effect>) {
        if !self.mouse || self.overlay.is_some() {
            return;
        }
        let motion = match mouse {
            Mouse::WheelUp => Motion::Up,
            Mouse::WheelDown => Motion::Down,
            Mouse::Click(x, y) => {
                match render::spot(self, x, y) {
                    Some(Spot::Tab(view)) => self.go_to(view, effects),
                    Some(Spot::Row(row)) if row < self.list().rows.len() => {
                        self.list_mut().move_to(row);
                    }
                    Some(Spot::Row(_)) | None => {}
                }
                return;
            }
        };
        for _ in 0..NOTCH {
            self.move_cursor(motion);
        }
    }

    /// Whether the terminal should report the mouse; its own selection of text needs Shift then.
    #[must_use]
    pub fn uses_mouse(&self) -> bool {
        self.mouse
    }
}
