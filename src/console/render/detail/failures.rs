//! Details of a group of failures: each of them with its run, step, worker and error.

use super::super::paint::span;
use super::Page;
use crate::console::labels::plural;
use crate::console::view::failures;
use crate::console::{format, text};
use crate::domain::FailureGroup;

/// Maximum number of failures shown: the newest.
const MEMBERS: usize = 200;

impl Page<'_> {
    pub(in crate::console) fn group(&mut self, group: &FailureGroup) -> String {
        self.field("kind", group.kind.word());
        self.field("exception", &group.class);
        self.field("job", &group.job);
        let counted = format!(
            "{} in {}",
            plural(group.count, "failure"),
            plural(group.runs, "run")
        );
        self.field("count", &counted);
        self.field("open", &failures::open(group));
        self.time("first", group.first_at);
        self.time("last", group.last_at);
        for (label, names) in [("steps", &group.steps), ("hosts", &group.hosts)] {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.field(label, &names.join(" "));
        }
        for member in group.members.iter().take(MEMBERS) {
            let at = member
                .at
                .map(|at| format::date(at, &self.ctx.app.setup.zone));
            let what = [
                at.as_deref(),
                Some(format::short_id(&member.run_id)),
                member.step_key.as_deref(),
                member.worker.as_deref().or(member.host.as_deref()),
                member
                    .letter
                    .as_ref()
                    .map(|(_, message_id)| message_id.as_str()),
            ];
            let what: Vec<&str> = what
                .into_iter()
                .flatten()
                .filter(|word| !word.is_empty())
                .collect();
            self.heading(text::clean(&what.join("  ")).into_owned());
            if let Some(settled) = &member.settled {
                let line = settled.to_string();
                self.wrapped_text(vec![span("", self.ctx.roles.dim)], &line);
            }
            self.wrapped_text(Vec::new(), &member.text);
        }
        if let Some(more) = group
            .members
            .len()
            .checked_sub(MEMBERS)
            .filter(|more| *more > 0)
        {
            self.heading(format!(
                "and {} more: `:dump json` writes all of them",
                plural(more, "failure")
            ));
        }
        let job = if group.job.is_empty() { "" } else { " in " };
        text::clean(&format!("{}{job}{}", group.class, group.job)).into_owned()
    }
}
