"""The commands: options and messages only."""
