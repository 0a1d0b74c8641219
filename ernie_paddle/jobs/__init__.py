"""Many training runs as jobs: a result file for each, nothing done twice, several devices side by side."""
