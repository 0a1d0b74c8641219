"""Text to arrays: documents, tokenizers, shards on disk, sampling order, masking, batches. NumPy only."""
