"""Definitions that do not load."""

raise RuntimeError("the warehouse is closed")
