"""Training dynamics: measures of other studies at a run's checkpoints, which `config.checkpoint.keep_every` keeps."""
