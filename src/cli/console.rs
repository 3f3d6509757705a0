//! The console: attaches to the workers of this host.
