"""Fine-tuning: labelled tables, task types (one file each), the shared training loop, model directories."""
