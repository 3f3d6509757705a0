//! Dagster's storage on real database servers. `PostgreSQL`'s binaries come with the tests' Python
//! packages or from Debian, `MySQL`'s (or `MariaDB`'s) are looked for on the machine; where there are
//! none, the tests say on the terminal that they were not run.

use crate::support;

use support::{pytest, pytest_on, python};

/// Jobs whose bookkeeping goes through the storage in different ways.
const CORE: &str = "chain_job or retry_job or fail_job or dynamic_job or guard_job or pool \
                    or partition or re_execution or hooks";

#[test]
fn nothing_runs_twice_and_nothing_is_lost_on_postgres_and_mysql() {
    pytest(&["tests/python/test_semantics_servers.py"]);
}

#[test]
fn a_storage_that_is_away_fails_nothing() {
    pytest(&["tests/python/test_semantics_storage_away.py"]);
}

#[test]
fn a_core_of_dagsters_semantics_holds_on_postgres() {
    pytest_on(
        python(),
        &["tests/python/test_semantics.py", "-k", CORE],
        &[("DTQ_TEST_STORAGE", "postgres")],
    );
}

#[test]
fn a_core_of_dagsters_semantics_holds_on_mysql() {
    pytest_on(
        python(),
        &["tests/python/test_semantics.py", "-k", CORE],
        &[("DTQ_TEST_STORAGE", "mysql")],
    );
}
