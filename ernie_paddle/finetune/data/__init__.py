"""Tables and published files as rows for a task type."""
