//! Parts of which the rows of the command table are put together.

use super::{CommandRow, Handler, Scope, Verb, no_offers};
use crate::console::app::App;
use crate::console::view::View;
use crate::domain::Danger::{self, Safe};

/// A row of a command that is a function.
pub(super) const fn row(
    name: &'static str,
    keys: &'static [&'static str],
    handler: Handler,
) -> CommandRow {
    named(Verb::Run(handler), name, keys)
}

/// A row that pages and dialogs treat in their own way.
pub(super) const fn named(
    verb: Verb,
    name: &'static str,
    keys: &'static [&'static str],
) -> CommandRow {
    CommandRow {
        verb,
        name,
        aliases: &[],
        keys,
        scope: Scope::Everywhere,
        danger: Safe,
        is_hinted: false,
        help: "",
        argument: "",
        offers: no_offers,
    }
}

impl CommandRow {
    pub(super) const fn aka(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(super) const fn within(self, views: &'static [View]) -> Self {
        let scope = Scope::In(views);
        Self { scope, ..self }
    }

    pub(super) const fn scoped(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    pub(super) const fn risk(self, danger: Danger) -> Self {
        Self { danger, ..self }
    }

    pub(super) const fn hinted(self) -> Self {
        Self {
            is_hinted: true,
            ..self
        }
    }

    pub(super) const fn takes(self, argument: &'static str) -> Self {
        Self { argument, ..self }
    }

    pub(super) const fn offers(self, offers: fn(&App) -> Vec<String>) -> Self {
        Self { offers, ..self }
    }

    pub(super) const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }
}
