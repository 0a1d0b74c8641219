"""The task types, one per file."""
