"""Training dynamics: the studies of information and representation at the checkpoints that were kept."""
