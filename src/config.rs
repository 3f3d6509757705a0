//! Layered settings: defaults, YAML file, environment, flags.
