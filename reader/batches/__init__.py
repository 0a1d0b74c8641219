"""Which rows make a batch, in which order, how they are padded and how they are masked."""
