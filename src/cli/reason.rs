//! `--reason`: why an operator does something, for the audit log.

use clap::Args;

/// The reason of a command that changes something.
#[derive(Clone, Debug, Default, Args)]
pub struct ReasonArgs {
    /// Why: it is kept in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl ReasonArgs {
    /// The text, if any was given.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let given = self.reason.as_deref().map(str::trim);
        given.filter(|text| !text.is_empty()).map(str::to_owned)
    }
}
