"""What masking takes whole: words, phrases, entities, n-grams."""
