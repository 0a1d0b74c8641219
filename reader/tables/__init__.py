"""Tables and published task formats: cells, nested records, tags, questions and marked words."""
