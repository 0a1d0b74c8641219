"""The schedule: which task is trained at which step, as a table."""
