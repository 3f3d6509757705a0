//! How many files this process may open: a pipe or two for each process it supervises.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// Raises the limit to what the system allows, once. Steps get the former one, which programs that
/// use `select` or close every descriptor there may be rely on.
pub(super) fn raise() {
    BEFORE.get_or_init(|| {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // Where it is refused, the limit is what it was.
        let _ = setrlimit(Resource::Nofile, raised);
        limit.current
    });
}

/// The limit before it was raised; none where there is none.
pub(super) fn before() -> Option<u64> {
    BEFORE.get().copied().flatten()
}
