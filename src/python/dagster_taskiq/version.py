"""The package's version, the same as the binary's in Cargo.toml."""

__version__ = "0.1.0"
