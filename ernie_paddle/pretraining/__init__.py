"""Pre-training: from a recipe and corpora to a run."""
