"""Export of models, and prediction with exported models."""
