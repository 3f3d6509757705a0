"""Runs under random faults, checked from the event log: ``python -m soak --help``."""
