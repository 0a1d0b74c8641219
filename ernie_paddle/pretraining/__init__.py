"""Pre-training: a recipe and prepared corpora become a run."""
