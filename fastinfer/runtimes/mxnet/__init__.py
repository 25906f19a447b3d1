"""MXNet as a runtime."""
