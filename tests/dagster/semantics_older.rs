//! The oldest release line of Dagster that is supported, in an environment of its own: every private
//! name that the packages use, and a core of the semantics on a real worker.

use crate::support;

use support::{older_environment, pytest_on};

/// Jobs that go through different parts of Dagster.
const CORE: &str = "contract or chain_job or retry_job or fail_job or skip_job or dynamic_job or \
                    multi_job or guard_job or partition or re_execution or hooks or pool or host";

#[test]
fn the_package_and_the_worker_hold_on_the_oldest_supported_dagster() {
    let tests = [
        "tests/python/test_contract.py",
        "tests/python/test_semantics.py",
        "-k",
        CORE,
    ];
    pytest_on(&older_environment().python, &tests, &[]);
}
