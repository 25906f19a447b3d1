"""An object's bytes to records: spans of a large object, groups of small ones, chunks of lines."""
