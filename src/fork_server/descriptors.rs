//! Limit of open files of this process: one or two pipes for each process it supervises.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// Raises the limit to the maximum that the system allows, once. Steps get the former limit,
/// because programs that use `select` or close every descriptor may rely on it.
pub(super) fn raise() {
    BEFORE.get_or_init(|| {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // If it is refused, the limit stays unchanged.
        let _ = setrlimit(Resource::Nofile, raised);
        limit.current
    });
}

/// The limit before it was raised; `None` if there was none.
pub(super) fn before() -> Option<u64> {
    BEFORE.get().copied().flatten()
}
