"""The fine-tuning run and the techniques that it offers."""
