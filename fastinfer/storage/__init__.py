"""Where bytes lie: objects in, results out, whole or not there."""
