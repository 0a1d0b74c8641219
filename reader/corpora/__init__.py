"""Prepared corpora on disk, and the samples that they hold."""
