"""The files of a workdir: checkpoints, predictions, logs, the manifest."""
