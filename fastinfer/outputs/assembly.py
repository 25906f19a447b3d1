"""Joins the results of spans to the result of a large object, while later spans are still transformed."""

from __future__ import annotations

from collections.abc import Sequence

from ..codecs.base import Form, empty_input
from ..errors import InputError, OutputError
from ..records.spans import Span
from ..storage.base import RunStore, Source, Upload
from .label import Label
from .layout import OutputLayout
from .writer import name_problem


class Assembly:
    """The result of one large object that is being joined.

    The results of the spans are kept until it has its name, so that a later run can continue.

    Args:
        layout: names of the run's results.
        store: where they are.
        form: how rows are joined.
        spans: all spans of the object, in order.
        inputs: where the object is; None: in the same store.
    """

    def __init__(
        self, layout: OutputLayout, store: RunStore, form: Form, spans: Sequence[Span], inputs: Source | None = None
    ) -> None:
        self._layout = layout
        self._store = store
        self._inputs = inputs or store
        self._form = form
        self._spans = spans
        self._item = spans[0].item
        self._finished: set[Span] = set()
        self._rejected = 0
        self._joined = 0  # spans that are in the upload
        self._has_rows = False
        self._upload: Upload | None = None

    def add(self, span: Span, rejected: int) -> bool:
        """Adds a finished span; returns whether the result is now whole and has its name.

        Args:
            span: the span.
            rejected: how many of its records were rejected.

        Raises:
            InputError: ``input_changed`` after it was listed, ``empty_input``, or ``output_name``.
            OutputError: it cannot be written.
        """
        if span not in self._finished:
            self._finished.add(span)
            self._rejected += rejected
        try:
            while self._joined < len(self._spans) and self._spans[self._joined] in self._finished:
                self._join(self._spans[self._joined])
                self._joined += 1
            if self._joined < len(self._spans):
                return False
            with self._inputs.open(self._item) as reader:
                reader.check_unchanged()
            if not self._has_rows:
                raise empty_input(self._item.uri)
            self._finish()
        except (InputError, OutputError):
            self.drop()
            raise
        return True

    def drop(self) -> None:
        """Removes the unfinished result; the results of the spans are kept."""
        if self._upload is not None:
            self._upload.abort()
            self._upload = None
        # If a span is added later, joining starts again.
        self._joined, self._has_rows = 0, False

    def _join(self, span: Span) -> None:
        if self._upload is None:
            name, word = self._layout.result(self._item), self._layout.word(self._item)
            self._upload = self._store.begin(name, word, self._label())
        separator = self._form.between if self._has_rows else self._form.head
        for piece in self._store.read_pieces(self._layout.span(span)):
            self._upload.write(separator + piece)
            separator = b""
            self._has_rows = True

    def _label(self) -> bytes:
        """The label of the result, with the rejects that are known so far."""
        return Label(bytes.fromhex(self._layout.run), self._rejected, self._item.version).pack()

    def _finish(self) -> None:
        upload, self._upload = self._upload, None
        assert upload is not None
        try:
            upload.write(self._form.tail)
            upload.commit(self._label())
        except OutputError as error:
            problem = name_problem(self._item, self._layout.result(self._item), error.__cause__)
            if problem is not None:
                raise problem from error
            raise
        for span in self._spans:
            self._store.remove(self._layout.span(span))
