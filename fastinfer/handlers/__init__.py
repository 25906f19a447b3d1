"""One payload to its answer: a model by itself, or a user's serving code."""
