"""Training framework on Paddle static graphs: Programs, optimizers, data parallelism, checkpoints, export."""
