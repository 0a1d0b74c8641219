"""Batches: the choice and the order of their rows, their padding and their masking."""
