"""Preparation of text files and tables as corpora of immutable shards, with their statistics and vocabularies."""
