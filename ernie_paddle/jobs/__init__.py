"""Training runs as jobs: each writes a result file, none runs twice, and several devices run jobs in parallel."""
