//! Details of a part of Dagster: all that is known, and its whole error.

use super::Page;
use crate::console::render::badges::signed;
use crate::console::text;
use crate::console::view::dagster::sign;
use crate::domain::DagsterPart;

impl Page<'_> {
    pub(super) fn part(&mut self, part: &DagsterPart) -> String {
        self.field("kind", part.kind.word());
        self.field("name", &part.name);
        let (sign, style) = sign(self.ctx, part.health);
        self.state("state", signed(sign, &part.state, style));
        self.time("last", part.at);
        for (label, value) in [
            ("result", &part.result),
            ("detail", &part.detail),
            ("location", &part.location),
        ] {
            if !value.is_empty() {
                self.field(label, value);
            }
        }
        if let Some(error) = &part.error {
            self.heading(String::from("error"));
            self.wrapped_text(Vec::new(), error);
        }
        text::clean(&part.name).into_owned()
    }
}
