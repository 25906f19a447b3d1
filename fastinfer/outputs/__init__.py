"""The folder of results: names, the record of a run, rejects, files that are whole or do not exist."""
