"""Preparation: text files in, immutable shards, statistics and vocabularies out."""
