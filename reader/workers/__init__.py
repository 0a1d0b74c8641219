"""Processes that compute ahead: a pool for preparation, prefetching for training."""
