"""Fine-tuning: labelled tables, task types (one file each), the training loop they share, model directories."""
