//! Supervises the warm Python hosts that run the steps.
