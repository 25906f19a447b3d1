"""The example: the notebook's network, its data, and its digits."""
