"""Saved models, read and checked without their framework."""
