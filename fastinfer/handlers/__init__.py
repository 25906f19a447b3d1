"""Requests to answers: by a model itself, or by a user's serving code."""
