"""Tables and published files, encoded as rows for a task type."""
