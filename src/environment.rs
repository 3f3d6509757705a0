//! The embedded Python packages and the managed Python environment.
