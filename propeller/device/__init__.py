"""The process and its device: static graphs, ranks, threads and memory, denormal numbers."""
