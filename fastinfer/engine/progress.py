"""What a run tells while it works."""

from __future__ import annotations


class Progress:
    """Follows a run. This one does nothing; a command derives its own."""

    def starting(self, what: str) -> None:
        """A step of the start begins.

        Args:
            what: the step, as "choosing a batch size".
        """

    def found(self, size: int) -> None:
        """More is to be done: so many bytes of objects without a finished result."""

    def advance(self, records: int, size: int) -> None:
        """So many records were predicted, and so many bytes read, since the last call.

        It is called from any thread: from the workers after each batch where they are threads of this process, else when a
        shard has ended.
        """
