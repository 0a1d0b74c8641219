"""The batches of each step, made from corpora by objectives."""
