"""The sample project of ``dagster-taskiq-tui demo``: a small shop's nightly work."""
