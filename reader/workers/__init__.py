"""Worker processes: a pool for preparation, and prefetching for training."""
