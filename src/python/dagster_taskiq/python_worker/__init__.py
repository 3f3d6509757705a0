"""The parts of ``dagster_taskiq.app``: its broker, and the processes that do the work."""
