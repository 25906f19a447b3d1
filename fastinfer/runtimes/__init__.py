"""Who computes: rows in, predictions out."""
