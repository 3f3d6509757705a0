//! Another deployment: the console ends, and opens anew over it, so that nothing of the old one is
//! left.

use jiff::Timestamp;

use super::{App, Effect};
use crate::console::options::{Exit, QuitPolicy};
use crate::console::toast::Tone;

impl App {
    /// Names of the contexts.
    pub(in crate::console) fn context_names(&self) -> Vec<String> {
        let contexts = self.setup.contexts.iter();
        contexts.map(|context| context.name.clone()).collect()
    }

    /// Opens the console over another context, or names them all.
    pub(in crate::console) fn switch_context(
        &mut self,
        name: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let names = self.context_names().join(", ");
        let contexts = &self.setup.contexts;
        let found = contexts.iter().position(|context| context.name == name);
        let text = match found {
            _ if names.is_empty() => String::from(
                "No contexts are known: `contexts:` in the settings names them, -y FILE gives it",
            ),
            None if name.is_empty() => {
                let current = contexts.iter().find(|context| context.is_current);
                let here = current.map_or("none of them", |context| context.name.as_str());
                return self.toast(Tone::Note, format!("Contexts: {names}; here: {here}"), now);
            }
            None => format!("There is no context `{name}`: {names}"),
            Some(index) if contexts[index].is_current => format!("This is {name}"),
            Some(_) if self.setup.quit == QuitPolicy::Confirm && !self.setup.read_only => {
                String::from("This console started its worker: q leaves it, then switch")
            }
            Some(index) => return effects.push(Effect::Exit(Exit::Context(index))),
        };
        self.toast(Tone::Failed, text, now);
    }
}
