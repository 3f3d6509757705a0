//! A step that the kernel kills for want of memory, in a control group with a limit; where none can
//! be made, the test says on the terminal that it was not run.

use crate::support;

use support::pytest;

#[test]
fn a_step_killed_for_want_of_memory_fails_and_its_worker_lives_on() {
    pytest(&["tests/python/test_semantics_oom.py"]);
}
