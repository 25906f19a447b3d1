"""The bytes of objects to records: spans of a large object, groups of small objects, chunks of lines."""
