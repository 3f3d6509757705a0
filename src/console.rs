//! The operator's terminal console: a client of [`crate::control`].
