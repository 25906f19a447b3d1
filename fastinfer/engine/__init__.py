"""The run: its plan, its workers, and their reports."""
