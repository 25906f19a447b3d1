"""Requests to answers, by the model or by a user's serving code."""
