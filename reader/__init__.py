"""From text to arrays: documents, tokenizers, shards on disk, samples, masking and batches, without Paddle."""
