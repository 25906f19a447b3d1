"""Text to results: names, the record of a run, rejects, files that are whole or not there."""
