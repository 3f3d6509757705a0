//! The query protocol: form parameters in, XML out.
