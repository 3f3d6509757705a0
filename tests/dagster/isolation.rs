//! What a step finds in its process: the Python tests `tests/python/test_isolation*.py` on real step
//! hosts, and the rules of delivery with steps in reused processes.

use crate::support;

use support::{pytest, pytest_on, python};

#[test]
fn a_step_finds_what_a_process_of_its_own_would_find() {
    pytest(&["tests/python/test_isolation.py"]);
}

#[test]
fn code_is_forked_unless_loading_it_left_what_must_not_be_shared() {
    pytest(&["tests/python/test_isolation_auto.py"]);
}

/// A part of `semantics.rs`; all of it runs so with `DAGSTER_TASKIQ_ISOLATION=reuse`.
#[test]
fn a_run_in_reused_processes_is_what_it_is_on_dagsters_own_executor() {
    pytest_on(
        python(),
        &[
            "tests/python/test_semantics.py",
            "-k",
            "events_of or resources or retry or partition or blocking or captured",
        ],
        &[("DAGSTER_TASKIQ_ISOLATION", "reuse")],
    );
}
