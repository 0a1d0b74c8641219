"""Raw text: files cut into blocks, documents, sentences and discourse markers."""
