"""Content types, one per module: payloads to rows, predictions to text."""
