"""The run: a plan, workers, and what they report."""
