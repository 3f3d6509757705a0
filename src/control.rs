//! The store that folds events into a snapshot, and the links that carry it to consoles.
