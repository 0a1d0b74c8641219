"""Published benchmarks: their files, columns and recipes as data, and the command that runs all tasks of a suite."""
