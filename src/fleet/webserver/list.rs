//! The displayed runs: an unbroken stretch from the newest on, and single ones from before it. The
//! list also notices deleted and ended runs far down.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::domain::RunView;

/// Maximum number of runs in the stretch, and beside it: more than a user scrolls through.
const MAX_RUNS: usize = 5_000;

/// List of runs; see the module.
#[derive(Debug, Default)]
pub(super) struct RunList {
    /// From the newest on, without a gap, in Dagster's order.
    stretch: Vec<RunView>,
    /// The run after which it continues; `None` if there are no older ones.
    next: Option<String>,
    /// Runs from before the stretch: unfinished ones, and pages of one status.
    single: Vec<RunView>,
    /// Whether older runs were requested: they stay when new ones come.
    paged: bool,
    /// Number of the newest runs in the last poll.
    fresh: usize,
    /// Runs that the last poll no longer listed as unfinished.
    doubtful: Vec<String>,
    /// Position of the round of checks.
    turn: usize,
}

impl RunList {
    /// Whether runs lie between a page of the newest ones and the known ones.
    pub(super) fn has_gap_after(&self, page: &[RunView]) -> bool {
        let known: HashSet<&str> = ids(&self.stretch);
        self.paged && !page.iter().any(|run| known.contains(run.run_id.as_str()))
    }

    /// Adds the newest runs (`next` is from the last page of them) and the unfinished ones. Known
    /// older runs stay if older ones were requested and there is no gap.
    pub(super) fn renew(
        &mut self,
        newest: Vec<RunView>,
        next: Option<String>,
        unfinished: Vec<RunView>,
    ) {
        let last = newest.last().map(|run| run.run_id.clone());
        let is_last = |run: &RunView| Some(&run.run_id) == last.as_ref();
        let joint = self.stretch.iter().position(is_last);
        let kept = match joint.filter(|_| self.paged) {
            Some(at) => self.stretch.split_off(at + 1),
            None => Vec::new(),
        };
        if kept.is_empty() {
            self.next = next;
        }
        self.fresh = newest.len();
        self.stretch = newest;
        self.stretch.extend(kept);
        if self.stretch.len() > MAX_RUNS {
            self.stretch.truncate(MAX_RUNS);
            self.next = self.stretch.last().map(|run| run.run_id.clone());
        }
        if !self.paged {
            self.single.clear();
        }
        self.take_unfinished(unfinished);
    }

    fn take_unfinished(&mut self, unfinished: Vec<RunView>) {
        let mut reported: HashMap<String, RunView> = unfinished
            .into_iter()
            .map(|run| (run.run_id.clone(), run))
            .collect();
        self.doubtful.clear();
        let old = self.stretch.iter_mut().skip(self.fresh);
        for run in old.chain(&mut self.single) {
            match reported.remove(&run.run_id) {
                Some(now) => *run = now,
                None if !run.status.is_finished() => self.doubtful.push(run.run_id.clone()),
                None => {}
            }
        }
        self.single.extend(reported.into_values());
        self.sort_singles();
    }

    /// Adds a page of older runs. Its `next` position counts if the page `follows` the stretch; a
    /// page of a single status does not.
    pub(super) fn take_page(&mut self, page: Vec<RunView>, next: Option<String>, follows: bool) {
        self.paged = true;
        if follows {
            let known: HashSet<String> =
                ids(&self.stretch).into_iter().map(str::to_owned).collect();
            let more = page.into_iter();
            self.stretch
                .extend(more.filter(|run| !known.contains(&run.run_id)));
            self.next = next;
        } else {
            let listed: HashSet<String> = ids(&page).into_iter().map(str::to_owned).collect();
            self.single.retain(|run| !listed.contains(&run.run_id));
            self.single.extend(page);
        }
        self.sort_singles();
    }

    /// Runs to look up by their ids, at most `many`: those that may have ended first, then the
    /// older ones in turn, since Dagster may have deleted them.
    pub(super) fn take_turn(&mut self, many: usize) -> Vec<String> {
        let mut turn: Vec<String> = self.doubtful.iter().take(many).cloned().collect();
        let old = self.stretch.iter().skip(self.fresh).chain(&self.single);
        let old: Vec<&str> = old.map(|run| run.run_id.as_str()).collect();
        if old.is_empty() {
            return turn;
        }
        let room = many.saturating_sub(turn.len()).min(old.len());
        let start = self.turn % old.len();
        let round = old.iter().cycle().skip(start).take(room);
        let round: Vec<String> = round.map(|id| (*id).to_owned()).collect();
        self.turn = start + room;
        for id in round {
            if !turn.contains(&id) {
                turn.push(id);
            }
        }
        turn
    }

    /// Handles the result of a look-up by ids: runs that were not found are deleted.
    pub(super) fn checked(&mut self, turn: &[String], found: Vec<RunView>) {
        let mut found: HashMap<String, RunView> = found
            .into_iter()
            .map(|run| (run.run_id.clone(), run))
            .collect();
        let gone: HashSet<&String> = turn.iter().filter(|id| !found.contains_key(*id)).collect();
        let is_there = |run: &RunView| !gone.contains(&run.run_id);
        // The newest runs were polled a moment ago.
        let old = self.stretch.split_off(self.fresh.min(self.stretch.len()));
        self.stretch.extend(old.into_iter().filter(is_there));
        self.single.retain(is_there);
        let old = self.stretch.iter_mut().skip(self.fresh);
        for run in old.chain(&mut self.single) {
            if let Some(now) = found.remove(&run.run_id) {
                *run = now;
            }
        }
    }

    /// The run after which the next page begins; `None` if there is none.
    pub(super) fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// All runs, newest first.
    pub(super) fn all(&self) -> Vec<RunView> {
        let mut all: Vec<RunView> = self.stretch.iter().chain(&self.single).cloned().collect();
        all.sort_by_key(|run| Reverse(run.created_at));
        all
    }

    fn sort_singles(&mut self) {
        let stretch: HashSet<String> = ids(&self.stretch).into_iter().map(str::to_owned).collect();
        self.single.retain(|run| !stretch.contains(&run.run_id));
        self.single.sort_by_key(|run| Reverse(run.created_at));
        self.single.truncate(MAX_RUNS);
    }
}

fn ids(runs: &[RunView]) -> HashSet<&str> {
    runs.iter().map(|run| run.run_id.as_str()).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::domain::{RunStatus, Timestamp};

    fn run(second: i64, status: RunStatus) -> RunView {
        RunView {
            run_id: second.to_string(),
            job: "etl".to_owned(),
            status,
            created_at: Some(Timestamp::from_second(second).unwrap()),
            started_at: None,
            ended_at: None,
            steps_succeeded: 0,
            steps_failed: 0,
            steps_total: None,
            priority: None,
            tags: Vec::new(),
            assets: Vec::new(),
        }
    }

    /// Successful runs, newest first, and the position of the next page.
    fn page(seconds: impl DoubleEndedIterator<Item = i64>) -> (Vec<RunView>, Option<String>) {
        let runs: Vec<RunView> = seconds
            .rev()
            .map(|second| run(second, RunStatus::Success))
            .collect();
        let next = runs.last().map(|run| run.run_id.clone());
        (runs, next)
    }

    fn shown(list: &RunList) -> Vec<i64> {
        let ids = list.all().into_iter().map(|run| run.run_id);
        ids.map(|id| id.parse().unwrap()).collect()
    }

    fn descending(range: impl DoubleEndedIterator<Item = i64>) -> Vec<i64> {
        range.rev().collect()
    }

    /// A list whose newest page is 10..20, and 0..10 was loaded after it.
    fn paged() -> RunList {
        let mut list = RunList::default();
        let (runs, next) = page(10..20);
        list.renew(runs, next, Vec::new());
        assert_eq!(list.next(), Some("10"));
        let (runs, _) = page(0..10);
        list.take_page(runs, None, true);
        assert_eq!(shown(&list), descending(0..20));
        list
    }

    #[test]
    fn the_newest_page_alone_is_shown_until_older_ones_are_requested() {
        let mut list = RunList::default();
        let (runs, next) = page(0..10);
        list.renew(runs, next, Vec::new());
        let (runs, next) = page(50..60);
        assert!(!list.has_gap_after(&runs));
        let old = run(3, RunStatus::Started);
        list.renew(runs, next, vec![old]);
        let mut expected = descending(50..60);
        expected.push(3);
        assert_eq!(shown(&list), expected);
        assert_eq!(list.next(), Some("50"));
    }

    #[test]
    fn new_runs_join_the_loaded_ones_and_a_gap_is_reported() {
        let mut list = paged();
        let (runs, next) = page(15..25);
        assert!(!list.has_gap_after(&runs));
        list.renew(runs, next, Vec::new());
        assert_eq!(shown(&list), descending(0..25));
        assert_eq!(list.next(), None, "the end was loaded before");

        let (far, _) = page(90..100);
        assert!(list.has_gap_after(&far), "25..90 are missing");
        let (all, next) = page(20..100);
        assert!(!list.has_gap_after(&all));
        list.renew(all, next, Vec::new());
        assert_eq!(shown(&list), descending(0..100));
    }

    #[test]
    fn where_a_gap_is_too_wide_to_be_filled_the_list_ends_before_it() {
        let mut list = paged();
        let (far, next) = page(90..100);
        list.renew(far, next, Vec::new());
        assert_eq!(shown(&list), descending(90..100));
        assert_eq!(list.next(), Some("90"), "the next page begins there");
    }

    #[test]
    fn a_deleted_run_goes_from_the_newest_and_from_the_loaded_ones() {
        let mut list = paged();
        let (mut runs, next) = page(10..20);
        runs.retain(|run| run.run_id != "15");
        list.renew(runs, next, Vec::new());
        assert!(!shown(&list).contains(&15));
        let mut checked = 0;
        while shown(&list).contains(&4) {
            let turn = list.take_turn(3);
            let exist = turn.iter().filter(|id| *id != "4");
            let found = exist.map(|id| run(id.parse().unwrap(), RunStatus::Success));
            list.checked(&turn, found.collect());
            checked += 1;
            assert!(checked <= 4, "ten old runs, three at a time");
        }
        assert_eq!(list.all().len(), 18);
    }

    #[test]
    fn a_run_from_long_ago_that_ended_is_looked_up_first() {
        let mut list = paged();
        let old = run(-5, RunStatus::Started);
        let (runs, next) = page(10..20);
        list.renew(runs.clone(), next.clone(), vec![old.clone()]);
        assert_eq!(list.all().last(), Some(&old));
        list.renew(runs, next, Vec::new());
        let turn = list.take_turn(1);
        assert_eq!(turn, ["-5"]);
        list.checked(&turn, vec![run(-5, RunStatus::Failure)]);
        assert_eq!(list.all().last().unwrap().status, RunStatus::Failure);
    }

    #[test]
    fn a_page_of_one_status_leaves_the_place_where_the_next_page_begins() {
        let mut list = RunList::default();
        let (runs, next) = page(10..20);
        list.renew(runs, next, Vec::new());
        let failed = vec![run(5, RunStatus::Failure), run(2, RunStatus::Failure)];
        list.take_page(failed, Some("2".to_owned()), false);
        assert_eq!(list.next(), Some("10"));
        let (runs, _) = page(0..10);
        list.take_page(runs, None, true);
        assert_eq!(shown(&list), descending(0..20), "each of them once");
    }
}
