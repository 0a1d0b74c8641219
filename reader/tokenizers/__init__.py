"""Text to token ids: WordPiece and SentencePiece behind one protocol."""
