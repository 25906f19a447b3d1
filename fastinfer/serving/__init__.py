"""Answers over HTTP: settings, batches, and the server."""
