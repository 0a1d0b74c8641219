"""The networks of fine-tuning: heads on the encoder, and features from it."""
