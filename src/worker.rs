//! The pool: scheduling, task life cycle, drain and shutdown.
