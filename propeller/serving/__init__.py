"""Exported models and their prediction."""
