//! Plain types that every layer shares: no I/O.
