"""The tables of the papers at any size: their runs, running them, and the resulting tables and plots."""
