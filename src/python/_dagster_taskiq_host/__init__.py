"""Runs Dagster steps and runs for the worker, in one warm process per code location.

Self-contained: it imports the standard library and dagster, never ``dagster_taskiq``, so it always
matches the binary that contains it.
"""

PROTOCOL = 1
"""Version of the frames exchanged with the worker; both sides come from the same binary."""
