"""Reading and writing weights in the formats of other projects."""
