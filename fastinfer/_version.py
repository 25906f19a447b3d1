"""The version, for everything that needs only that."""

__version__ = "0.1.0"
