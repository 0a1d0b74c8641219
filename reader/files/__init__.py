"""File formats: tensor files, NumPy arrays, text encodings."""
