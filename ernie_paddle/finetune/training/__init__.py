"""The fine-tuning run and its training techniques."""
