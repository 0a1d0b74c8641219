"""Tables and the published task formats: cells, nested values, tags, questions, marks."""
