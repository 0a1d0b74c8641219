"""The units of text that masking treats as a whole: words, phrases, entities and n-grams."""
