"""Raw text: files cut into blocks, documents, sentences, discourse markers."""
