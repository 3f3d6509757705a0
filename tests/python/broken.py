"""A code location that does not import."""

raise RuntimeError("the warehouse is closed")
