//! What Dagster promises of jobs, assets, runs and launching, on a real worker with the embedded
//! broker: the Python tests `tests/python/test_semantics*.py`, on one worker for all of them.

use crate::support;

use support::pytest;

#[test]
fn a_run_on_the_worker_is_what_it_is_on_dagsters_own_executor() {
    pytest(&["tests/python/test_semantics.py"]);
}

#[test]
fn runs_are_launched_from_everywhere_dagster_launches_them() {
    pytest(&["tests/python/test_semantics_launching.py"]);
}

#[test]
fn the_launcher_tells_where_a_run_is_and_has_it_resumed() {
    pytest(&["tests/python/test_semantics_launcher.py"]);
}

#[test]
fn what_a_lost_run_held_is_given_back_and_the_run_ends() {
    pytest(&["tests/python/test_semantics_lost.py"]);
}
