//! The failures of a window of time: scanned while their view is on the screen. A scan lists the
//! failed runs page by page, then reads the logs of those it does not know yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::batch::Plan;
use super::confirm::names;
use super::{App, Effect};
use crate::console::cli_equivalent::of_groups;
use crate::console::labels::{NO_WEBSERVER, plural};
use crate::console::overlay::{Input, Overlay, Reason, Stagger};
use crate::console::toast::Tone;
use crate::console::view::View;
use crate::domain::{
    Answer, FailedRun, FailedRunPage, FailureGroup, FailureKind, MAX_FAILED_RUNS, Query, Reply,
    RunFailures, SourceHealth, group_failures, parse_window,
};

/// Windows that the key goes through.
const WINDOWS: [&str; 4] = ["24h", "7d", "1h", "6h"];

/// Pause between two scans, and after a failure.
const PAUSE: SignedDuration = SignedDuration::from_secs(15);

/// Re-executions or redrives a minute that the dialog proposes.
const USUAL_RATE: &str = "10";

/// The failures known so far.
#[derive(Clone, Debug)]
pub struct Failures {
    /// The window, as it is written.
    window: String,
    /// The failed runs of the last listing, newest first.
    known: Vec<FailedRun>,
    /// Those of the present one.
    listed: Vec<FailedRun>,
    /// Number of failed runs in the window, by Dagster.
    total: u64,
    /// The logs that were read. A failed run's log does not change any more.
    read: HashMap<String, RunFailures>,
    /// The query under way.
    stage: Stage,
    /// Whether the window was scanned to its end.
    is_complete: bool,
    due: Timestamp,
    problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Listing(u64),
    Reading(u64),
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            window: WINDOWS[0].to_owned(),
            known: Vec::new(),
            listed: Vec::new(),
            total: 0,
            read: HashMap::new(),
            stage: Stage::Idle,
            is_complete: false,
            due: Timestamp::MIN,
            problem: None,
        }
    }
}

impl Failures {
    /// The window and the state of the scan, for the title.
    pub(in crate::console) fn note(&self) -> String {
        let window = &self.window;
        let unread = self.known.iter().filter(|run| !self.is_read(run)).count();
        if !self.is_complete && (self.stage != Stage::Idle || unread > 0) {
            let of = self
                .total
                .min(u64::try_from(MAX_FAILED_RUNS).unwrap_or(u64::MAX));
            return match self.stage {
                Stage::Listing(_) if of == 0 => format!("last {window}: listing the failed runs"),
                Stage::Listing(_) => {
                    format!("last {window}: listing {} of {of} runs", self.listed.len())
                }
                _ => {
                    let (all, read) = (self.known.len(), self.known.len() - unread);
                    format!("last {window}: reading {read} of {all} runs")
                }
            };
        }
        let runs = plural(self.known.len(), "failed run");
        format!("last {window}: {}{runs}", self.newest_of())
    }

    /// Why nothing can be said, or not everything.
    pub(in crate::console) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Number of logs that were too long to be read to their end.
    pub(in crate::console) fn cut_logs(&self) -> usize {
        let cut = |run: &&FailedRun| self.read.get(&run.run_id).is_some_and(|read| read.is_cut);
        self.known.iter().filter(cut).count()
    }

    fn is_read(&self, run: &FailedRun) -> bool {
        self.read.contains_key(&run.run_id)
    }

    /// `the newest 1000 of 3210: ` if the window has more failed runs than are counted.
    fn newest_of(&self) -> String {
        let known = self.known.len();
        if u64::try_from(known).unwrap_or(u64::MAX) < self.total && known >= MAX_FAILED_RUNS {
            format!("the newest {known} of {}: ", self.total)
        } else {
            String::new()
        }
    }

    fn is_waiting_for(&self, request: u64) -> bool {
        matches!(self.stage, Stage::Listing(of) | Stage::Reading(of) if of == request)
    }

    pub(super) fn move_deadlines(&mut self, moved: impl Fn(Timestamp) -> Timestamp) {
        self.due = moved(self.due);
    }

    /// Scans again at once, after a change.
    pub(super) fn scan_again(&mut self) {
        self.due = Timestamp::MIN;
    }
}

impl App {
    /// The failures known so far.
    #[must_use]
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Begins a scan if one is due, while the view is shown; gives one up that is not looked at.
    pub(super) fn keep_scanning(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.view != View::Failures {
            // Answers that still come are ignored.
            self.failures.stage = Stage::Idle;
            self.failures.listed.clear();
            self.failures.scan_again();
            return;
        }
        if self.failures.stage != Stage::Idle || self.failures.due > now {
            return;
        }
        let webserver = self.snapshot.webserver();
        if webserver.is_none_or(|source| source.health == SourceHealth::Absent) {
            self.failures.problem = Some(NO_WEBSERVER.to_owned());
            self.failures.due = now + PAUSE;
            return;
        }
        self.failures.listed.clear();
        self.list_failed(None, now, effects);
    }

    fn list_failed(&mut self, before: Option<String>, now: Timestamp, effects: &mut Vec<Effect>) {
        let window = parse_window(&self.failures.window).unwrap_or(SignedDuration::from_hours(24));
        let since = now.saturating_sub(window).unwrap_or(Timestamp::MIN);
        let request = self.query(Query::FailedRuns { since, before }, effects);
        self.failures.stage = Stage::Listing(request);
    }

    /// Takes an answer of the scan; `false` if it belongs to something else.
    pub(super) fn failures_reply(
        &mut self,
        request: u64,
        reply: &Reply,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if !self.failures.is_waiting_for(request) {
            return false;
        }
        self.failures.stage = Stage::Idle;
        match reply {
            Reply::Answer(answer) => match &**answer {
                Answer::FailedRuns(page) => self.take_page(page, now, effects),
                Answer::RunFailures(read) => self.take_logs(read, now, effects),
                _ => {}
            },
            other => {
                // The logs that were to be read are still unread.
                self.failures
                    .read
                    .retain(|_, read| !read.failures.is_empty());
                self.failures.problem = Some(other.text().to_owned());
                self.failures.due = now + PAUSE;
            }
        }
        true
    }

    fn take_page(&mut self, page: &FailedRunPage, now: Timestamp, effects: &mut Vec<Effect>) {
        let failures = &mut self.failures;
        failures.problem = None;
        failures.total = page.total;
        failures.listed.extend(page.runs.iter().cloned());
        if failures.listed.len() < MAX_FAILED_RUNS && page.next.is_some() {
            return self.list_failed(page.next.clone(), now, effects);
        }
        failures.listed.truncate(MAX_FAILED_RUNS);
        failures.known = std::mem::take(&mut failures.listed);
        let known: HashSet<&str> = failures
            .known
            .iter()
            .map(|run| run.run_id.as_str())
            .collect();
        failures
            .read
            .retain(|run_id, _| known.contains(run_id.as_str()));
        self.show_failures();
        self.read_logs(now, effects);
    }

    fn take_logs(&mut self, read: &[RunFailures], now: Timestamp, effects: &mut Vec<Effect>) {
        for read in read {
            self.failures.read.insert(read.run_id.clone(), read.clone());
        }
        self.show_failures();
        self.read_logs(now, effects);
    }

    fn read_logs(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let unread = self.failures.known.iter();
        let unread = unread.filter(|run| !self.failures.is_read(run));
        let run_ids: Vec<String> = unread
            .take(Query::LOGS_AT_ONCE)
            .map(|run| run.run_id.clone())
            .collect();
        if run_ids.is_empty() {
            self.failures.is_complete = true;
            self.failures.due = now + PAUSE;
            return;
        }
        // A run that was deleted meanwhile has no answer, and is not read again.
        for run_id in &run_ids {
            let none = RunFailures {
                run_id: run_id.clone(),
                ..RunFailures::default()
            };
            self.failures.read.insert(run_id.clone(), none);
        }
        let request = self.query(Query::RunFailures { run_ids }, effects);
        self.failures.stage = Stage::Reading(request);
    }

    /// Makes the groups the list of their view.
    pub(super) fn show_failures(&mut self) {
        let Failures { known, read, .. } = &self.failures;
        let groups = group_failures(known, read, &self.snapshot.dead_letters);
        if *self.snapshot.failures != groups {
            self.snapshot.failures = Arc::new(groups);
            let list = &mut self.lists[View::Failures.index()];
            list.stale = true;
            // Until everything is counted, the largest group is not known.
            if !self.failures.is_complete && list.cursor == 0 {
                list.unpin();
            }
        }
    }

    /// Looks at another window of time: the next one, or the named one.
    pub(in crate::console) fn set_window(&mut self, argument: &str, now: Timestamp) {
        let failures = &mut self.failures;
        let window = if argument.is_empty() {
            let at = WINDOWS.iter().position(|known| *known == failures.window);
            WINDOWS[at.map_or(0, |at| (at + 1) % WINDOWS.len())]
        } else {
            argument
        };
        if let Err(reason) = parse_window(window) {
            return self.toast(Tone::Failed, reason, now);
        }
        window.clone_into(&mut failures.window);
        failures.stage = Stage::Idle;
        failures.is_complete = false;
        failures.scan_again();
    }

    /// The group under the cursor.
    pub(in crate::console) fn selected_group(&self) -> Option<&FailureGroup> {
        self.snapshot.failures.get(self.list().selected()?)
    }

    /// The groups of this kind that a command applies to, or the reason why there are none.
    fn target_groups(&self, kind: FailureKind) -> Result<Vec<FailureGroup>, &'static str> {
        let rows = self.target_rows();
        let groups = rows.iter().filter_map(|at| self.snapshot.failures.get(*at));
        let groups: Vec<FailureGroup> =
            groups.filter(|group| group.kind == kind).cloned().collect();
        match (groups.is_empty(), rows.is_empty(), kind) {
            (false, ..) => Ok(groups),
            (_, true, _) => Err("No group of failures is under the cursor"),
            (_, _, FailureKind::Run) => Err("These are dead letters: redrive them with R"),
            (_, _, FailureKind::DeadLetter) => {
                Err("These are failed runs: execute them again with E")
            }
        }
    }

    /// Opens the dialog that executes the failed runs of groups again, from their failure.
    pub(in crate::console) fn confirm_reexecute_group(&mut self, now: Timestamp) {
        let groups = match self.target_groups(FailureKind::Run) {
            Ok(groups) => groups,
            Err(reason) => return self.toast(Tone::Failed, reason, now),
        };
        if !self.failures.is_complete {
            let text = format!(
                "Not everything is counted yet ({}): wait for it",
                self.failures.note()
            );
            return self.toast(Tone::Failed, text, now);
        }
        let mut seen = HashSet::new();
        let open = groups.iter().flat_map(FailureGroup::open_runs);
        let runs: Vec<String> = open.filter(|run_id| seen.insert(run_id.clone())).collect();
        let all: HashSet<&str> = groups
            .iter()
            .flat_map(|group| &group.members)
            .map(|member| member.run_id.as_str())
            .collect();
        if runs.is_empty() {
            let text = "All of these runs were executed again already, or Dagster retries them";
            return self.toast(Tone::Failed, text, now);
        }
        let count = plural(runs.len(), "failed run");
        let classes = names(groups.iter().map(|group| group.class.as_str()));
        let jobs = names(groups.iter().map(|group| group.job.as_str()));
        let window = &self.failures.window;
        let newest = self.failures.newest_of();
        let mut body = vec![
            format!("{newest}{count} of {jobs} with {classes}, of the last {window}."),
            String::from(
                "The steps that failed, and those after them, are run again, oldest run first.",
            ),
        ];
        if all.len() > runs.len() {
            let settled = plural(all.len() - runs.len(), "other run");
            body.push(format!(
                "{settled}: executed again since, or retried by Dagster; left alone."
            ));
        }
        let more = format!(" --since {window} --yes");
        body.push(of_groups("run reexecute", &groups, &more));
        let title = format!("Execute {count} again?");
        self.prompt_rate(title, body, Plan::Runs(runs));
    }

    /// Opens the dialog that sends the dead letters of groups back.
    pub(in crate::console) fn confirm_redrive_group(&mut self, now: Timestamp) {
        let groups = match self.target_groups(FailureKind::DeadLetter) {
            Ok(groups) => groups,
            Err(reason) => return self.toast(Tone::Failed, reason, now),
        };
        let mut by_queue: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (queue, message_id) in groups.iter().flat_map(FailureGroup::letters) {
            let ids = by_queue.entry(queue.clone()).or_default();
            ids.push(message_id.clone());
        }
        let count: usize = by_queue.values().map(Vec::len).sum();
        let count = plural(count, "dead letter");
        let from = names(by_queue.keys().map(String::as_str));
        let mut body = vec![
            format!("{count} of {from} go back to where they came from, to be tried again."),
            String::from("A step that has ended in Dagster's log does not run again."),
        ];
        for queue in by_queue.keys() {
            if let Some(peek) = self.messages.peeks.get(queue).filter(|peek| peek.more) {
                let known = peek.messages.len();
                body.push(format!(
                    "Only the first {known} messages of {queue} are known: those behind are counted when these are gone."
                ));
            }
        }
        let queues = match by_queue.keys().collect::<Vec<_>>().as_slice() {
            [queue] => queue.as_str(),
            _ => "--dead-letters",
        };
        body.push(of_groups(&format!("queue redrive {queues}"), &groups, ""));
        self.prompt_rate(format!("Redrive {count}?"), body, Plan::Letters(by_queue));
    }

    fn prompt_rate(&mut self, title: String, body: Vec<String>, plan: Plan) {
        self.overlay = Some(Overlay::Stagger(Box::new(Stagger {
            title,
            body,
            input: Input::new(USUAL_RATE),
            is_refused: false,
            reason: Reason::given(self.given_reason.take()),
            plan,
        })));
    }
}
