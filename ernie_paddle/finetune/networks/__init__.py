"""What fine-tuning puts on the encoder, and what it takes from it."""
