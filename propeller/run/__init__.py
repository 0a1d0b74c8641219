"""A training run: the loop, checkpoints, the run folder, the learning rate, hooks."""
