//! Tracing to rolling files and to a bounded ring.
