"""The tables of the papers at any size: which runs they take, running them, and the tables and pictures they give."""
