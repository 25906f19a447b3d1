"""Where bytes are kept: objects are read, results are written whole or not at all."""
