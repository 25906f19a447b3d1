"""The commands: options and words, nothing else."""
