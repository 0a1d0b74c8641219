"""Predictions of a fine-tuned model, from a checkpoint or an exported model."""
