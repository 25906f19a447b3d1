"""``_rejects.jsonl``: rejected records and whole inputs, with place and reason.

While a run works, each writer has a journal of its own; a reject is in it before the result that lacks the record gets its
name. The journals are joined to the file at the end of the run, or at the start of the next one if it was killed: sorted, each
reject once. A reject is kept as long as the result stands that lacks the record, whatever became of the input: a result's
label says which run made it, of which version of the object, and how many records it lacks.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..errors import InputError, OutputError
from ..storage.atomic import unwritable
from ..storage.base import Object, RunStore
from ..storage.uri import absolute
from ..storage.writer import writer_name
from .label import Label
from .layout import OutputLayout, is_reject_journal

if TYPE_CHECKING:
    from ..records.spans import Span  # a dry run has none

# A longer record is not repeated in its reject, which says where it is.
MOST_RECORD_BYTES = 64 << 10
# Lines that wait for labels have so many bytes at most.
MOST_WAITING_BYTES = 8 << 20
# No reject has a longer line: six characters for each byte of the record, and of the paths.
MOST_LINE_BYTES = 1 << 20


class Reject(NamedTuple):
    """A rejected record, or a rejected whole input if ``range`` is None. A line of ``_rejects.jsonl`` has these fields.

    Attributes:
        key: the input's path below the source.
        version: the input's version, in hexadecimal digits.
        run: the id of the run.
        part: for a record in a span of a large input, the span's first byte and the byte after its last.
        line, column: 1-based place of the error, as far as it has one.
        code, message: what is wrong.
        record: the line itself, bytes that are not UTF-8 as lone surrogates; None if it is longer than MOST_RECORD_BYTES, and
            for a whole input.
        range: the first byte of the record in the input and the byte after its last; None for a whole input.
        path: the input.
    """

    key: str
    version: str
    run: str
    part: tuple[int, int] | None
    line: int | None
    column: int | None
    code: str
    message: str
    record: str | None
    range: tuple[int, int] | None
    path: str

    @classmethod
    def of_record(
        cls, run: str, span: Span, error: InputError, record: bytes | None, bounds: tuple[int, int]
    ) -> Reject:
        """The reject of a record of a span; `record` is None where it is too long to be repeated."""
        text = None if record is None else record.decode("utf-8", "surrogateescape")
        part = None if span.is_whole else (span.start, span.stop)
        return cls._of(run, span.item, error)._replace(part=part, record=text, range=bounds)

    @classmethod
    def of_object(cls, run: str, item: Object, error: InputError) -> Reject:
        """The reject of a whole input, for an error that may have a place in it."""
        return cls._of(run, item, error)

    @classmethod
    def _of(cls, run: str, item: Object, error: InputError) -> Reject:
        # An absolute path: a later run may be started in another folder.
        path = absolute(item.uri)
        place = error.line, error.column
        return cls(item.key, item.version.hex(), run, None, *place, error.code, error.message, None, None, path)

    def encode(self) -> bytes:
        """The line of ``_rejects.jsonl``, without its end."""
        return json.dumps(self._asdict()).encode()


class Place(NamedTuple):
    """What rejects are sorted by: those of a result follow each other, and within it those of a span."""

    key: bytes  # as JSON
    version: bytes
    run: bytes
    part: tuple[int, int]  # WHOLE: not of a span
    line: int  # WHOLE_INPUT: not of a record


WHOLE = (-1, -1)
WHOLE_INPUT = -1
# No string in JSON has these bytes: its quotes are escaped.
_NO_RANGE = b', "range": null, '
# A string as json.dumps() prints it, without NUL, which no name has.
_KEY = rb'"(?:[ !#-\[\]-~]|\\["\\bfnrt]|\\u(?!0000)[0-9a-f]{4})*"'
_LINE = (
    rb'\{"key": (' + _KEY + rb'), "version": "([0-9a-f]*)", "run": "([0-9a-f]*)", '
    rb'"part": (?:null|\[(\d{1,19}), (\d{1,19})\]), "line": (?:null|(\d{1,19})), '
)


def find_place(line: bytes) -> Place | None:
    """The place of a line of ``_rejects.jsonl``; None if it is no such line."""
    match = re.match(_LINE, line)
    if match is None or not line.endswith(b"}\n"):
        return None
    key, version, run, start, stop, number = match.groups()
    if b"\\ud" in key:
        try:
            os.fsencode(json.loads(key))
        except UnicodeEncodeError:  # no file has this name
            return None
    part = WHOLE if start is None else (int(start), int(stop))
    return Place(key, version, run, part, WHOLE_INPUT if _NO_RANGE in line else int(number or 0))


def rejected_keys(layout: OutputLayout, store: RunStore) -> set[str]:
    """The keys of the inputs of which records, or the whole, were rejected. Raises OutputError."""
    keys: set[str] = set()
    for line in store.read_lines(layout.rejects, MOST_LINE_BYTES):
        place = find_place(line)
        if place is not None:
            keys.add(json.loads(place.key))
    return keys


class Rejects:
    """The rejects of a run's folder: for one of its writers, or for the process that holds its lock.

    Args:
        layout: of the folder.
        store: where it is.
    """

    def __init__(self, layout: OutputLayout, store: RunStore) -> None:
        self._layout = layout
        self._store = store
        self._complete: set[int] = set()
        self._labels: dict[str, Label | None] = {}  # that were got ahead

    def append(self, rejects: Iterable[Reject]) -> None:
        """Adds rejects to this writer's journal; a whole input that is rejected has no result any more. Raises OutputError."""
        rejects = list(rejects)
        self._store.append(self._layout.reject_journal(writer_name()), (reject.encode() for reject in rejects))
        for reject in rejects:
            # That of an earlier run, or of another version of the input. (Another input's has the name it cannot have.)
            if reject.range is None and reject.code != "output_name":
                result = self._layout.result_of(reject.key)
                if self._store.label(result) is not None:
                    self._store.remove(result, may_stay=False)

    def begin(self, replaced: Collection[str] = (), *, read_only: bool = False) -> int:
        """Joins the journals of earlier runs, and keeps the rejects of the results that stand.

        Those of results without a name go: their inputs are transformed again.

        Args:
            replaced: the ids of runs whose results this one replaces; their rejects stay until then.
            read_only: whether the files stay as they are.

        Returns:
            how many of this run's are kept.

        Raises:
            OutputError: a file cannot be read or written.
        """
        self._complete.clear()
        journals = self._journals([self._layout.run, *replaced])
        lines = self._lines([])
        if journals:
            folder = _temporary_folder() if read_only else self._store.scratch_folder(self._layout.root)
            lines = self._join(journals, self._standing, folder)
            if not read_only:
                self._replace(lines, journals)
                lines = self._lines([])
        own = gone = 0
        stands = self._stands()
        places = ((place, stands(place)) for place, _ in self._expect(_placed(lines)))
        for group, found in itertools.groupby(places, key=lambda each: each[0] and each[0][:3]):
            counts: dict[tuple[int, int], int] = {}
            for place, is_kept in found:
                if place is None or not is_kept:
                    gone += 1
                else:
                    counts[place.part] = counts.get(place.part, 0) + 1
            if group is not None and group[2] == self._layout.run.encode():
                own += sum(counts.values())
                self._note_complete(group[0], group[1], counts)
        if gone and not read_only:
            self._replace(self._standing(self._lines([])), [])
        self._labels.clear()
        return own

    def finish(self, written: int | None = None) -> int:
        """Joins this run's journals, when all workers have ended; returns how many rejects there are now.

        All new rejects are kept, also if the run was stopped before their results had names: they tell why. Of the old ones
        those go whose results were replaced.

        Args:
            written: how many the workers wrote; None: the run ended early. Only then results of spans stay.

        Raises:
            OutputError: ``rejects_missing``; the journals stay as they are for the next run.
        """
        journals = self._journals([self._layout.run])
        spans = written is None
        if not journals and not written:  # the file is sorted, and stays as it is unless results were replaced
            stands = self._stands(spans=spans)
            verdicts = [0, 0]
            for place, _ in self._expect(_placed(self._lines([])), spans=spans):
                verdicts[stands(place)] += 1
            if verdicts[False]:
                self._replace(self._standing(self._lines([]), spans=spans), [])
            return verdicts[True]
        count = 0

        def count_all() -> Iterator[bytes]:
            nonlocal count
            folder = self._store.scratch_folder(self._layout.root)
            for line in self._join(journals, _every_reject, folder, spans=spans, written=written or 0):
                count += 1
                yield line

        self._replace(count_all(), journals)
        return count

    def has_all(self, item: Object, label: Label, span: Span | None = None) -> bool:
        """Whether all rejects of a result with this label are known since :meth:`begin`."""
        part = WHOLE if span is None else (span.start, span.stop)
        return label.rejected == 0 or _mark(json.dumps(item.key).encode(), part, label) in self._complete

    def _journals(self, runs: Collection[str]) -> list[str]:
        names = self._store.hidden_names(self._layout.root)
        return [self._layout.below(name) for name in names if is_reject_journal(name, runs)]

    def _lines(self, journals: Iterable[str], *, old: bool = True) -> Iterator[bytes]:
        """The lines of the file, and of journals."""
        if old:
            yield from self._store.read_lines(self._layout.rejects, MOST_LINE_BYTES)
        for journal in journals:
            for entry in self._store.read_entries(journal, MOST_LINE_BYTES):
                yield entry + b"\n"

    def _join(
        self,
        journals: list[str],
        keep: Callable[[Iterable[bytes]], Iterator[bytes]],
        folder: str,
        *,
        spans: bool = True,
        written: int = 0,
    ) -> Iterator[bytes]:
        """The lines of the file and of journals, sorted, each once.

        Old lines go whose results do not stand, and those of an earlier attempt at a result of which the journals have all.

        Args:
            journals: of this run or of earlier ones.
            keep: gives those of their lines that are kept.
            folder: where more lines than memory holds are sorted.
            spans: whether results of spans stay.
            written: how many lines the journals have at least.
        """
        remade: set[int] = set()
        found = 0
        new = self._expect(self._sort(keep(self._lines(journals, old=False)), folder), spans=False)
        for group, lines in itertools.groupby(new, key=lambda each: each[0] and each[0][:3]):
            count = sum(1 for _ in lines)
            found += count
            if group is not None:
                label = self._label(self._uris(group[0], WHOLE)[0])
                if label is not None and _made(label) == (group[2], group[1]) and label.rejected == count:
                    remade.add(hash(group))
        if found < written:  # by other machines, to a shared disk whose listing is late, for example
            raise OutputError(
                f"only {found:,} of the {written:,} rejects are found that were written: the folder's listing is out of date",
                code="rejects_missing",
                path=self._layout.rejects,
                hint="run again in a minute; what is finished is kept",
            )
        stands = self._stands(spans=spans)
        old = (
            line
            for place, line in self._expect(_placed(self._lines([])), spans=spans)
            if place is not None and stands(place) and hash(place[:3]) not in remade
        )
        every = itertools.chain(old, keep(self._lines(journals, old=False)))
        return (line for _, line in self._sort(every, folder))

    def _standing(self, lines: Iterable[bytes], *, spans: bool = True) -> Iterator[bytes]:
        """Those lines of which the results stand that lack the records, or those of their spans if `spans`."""
        stands = self._stands(spans=spans)
        return (line for place, line in self._expect(_placed(lines), spans=spans) if stands(place))

    def _stands(self, *, spans: bool = True) -> Callable[[Place | None], bool]:
        """A function that says of a reject whether the result stands that lacks the record, or that of its span if `spans`."""
        last: tuple[Any, bool] = None, False  # rejects of one result follow each other: its label is looked up once

        def stands(place: Place | None) -> bool:
            nonlocal last
            if place is None or place.line == WHOLE_INPUT:
                return False  # a whole input: it has no result, and is tried again
            if last[0] != place[:-1]:
                uris = self._uris(place.key, place.part if spans else WHOLE)
                labels = map(self._label, uris)
                made = (place.run, place.version)
                last = place[:-1], any(label is not None and _made(label) == made for label in labels)
            return last[1]

        return stands

    def _expect(
        self, lines: Iterable[tuple[Place | None, bytes]], *, spans: bool = True
    ) -> Iterator[tuple[Place | None, bytes]]:
        """The same lines, whose results' labels are asked for next: from a store far away they are got ahead, in groups."""
        ahead = self._store.labels_ahead
        if not ahead:
            yield from lines
            return
        waiting: list[tuple[Place | None, bytes]] = []
        uris: dict[str, None] = {}
        held, last = 0, None
        for place, line in lines:
            if len(uris) >= ahead or held >= MOST_WAITING_BYTES:
                self._get_labels(uris)
                yield from waiting
                waiting, uris, held = [], {}, 0
            waiting.append((place, line))
            held += len(line)
            if place is not None and place.line != WHOLE_INPUT and place[:-1] != last:
                last = place[:-1]
                uris.update(dict.fromkeys(self._uris(place.key, place.part if spans else WHOLE)))
        self._get_labels(uris)
        yield from waiting

    def _get_labels(self, uris: Collection[str]) -> None:
        self._store.expect_labels(list(uris))
        self._labels = {uri: Label.unpack(self._store.label(uri)) for uri in uris}

    def _note_complete(self, key: bytes, version: bytes, counts: dict[tuple[int, int], int]) -> None:
        """Notes which results of an object have all their rejects: counts by span; WHOLE: not of a span."""
        made = (self._layout.run.encode(), version)
        for part, count in {**counts, WHOLE: sum(counts.values())}.items():
            label = self._label(self._uris(key, part)[-1])
            if label is not None and _made(label) == made and label.rejected == count:
                self._complete.add(_mark(key, part, label))

    def _uris(self, key: bytes, part: tuple[int, int]) -> list[str]:
        """The result of an object, and that of a span."""
        name = json.loads(key)
        result = self._layout.result_of(name)
        return [result] if part == WHOLE else [result, self._layout.span_of(name, *part)]

    def _label(self, uri: str) -> Label | None:
        if uri in self._labels:
            return self._labels[uri]
        return Label.unpack(self._store.label(uri))

    def _sort(self, lines: Iterable[bytes], folder: str) -> Iterator[tuple[Place | None, bytes]]:
        # Imported late: a run that rejects nothing does not need it.
        from .sorting import sort_lines

        try:
            yield from sort_lines(lines, find_place, folder, self._layout.hidden("sort-"))
        except OutputError:
            raise
        except OSError as error:
            raise unwritable(self._layout.rejects, error) from error

    def _replace(self, lines: Iterator[bytes], journals: Iterable[str]) -> None:
        """Gives the file these lines; without a line there is no file. Then the journals go."""
        first = next(lines, None)
        if first is None:
            self._store.remove(self._layout.rejects, may_stay=False)
        else:
            self._store.replace(self._layout.rejects, itertools.chain([first], lines))
        for journal in journals:
            self._store.remove(journal, may_stay=False)


def _placed(lines: Iterable[bytes]) -> Iterator[tuple[Place | None, bytes]]:
    return ((find_place(line), line) for line in lines)


def _every_reject(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if find_place(line) is not None)


def _made(label: Label) -> tuple[bytes, bytes]:
    """The run and the version of a label, as they are in a line."""
    return label.run.hex().encode(), label.version.hex().encode()


def _mark(key: bytes, part: tuple[int, int], label: Label) -> int:
    # One number for each result that lacks records: there may be millions.
    return hash((key, part, label))


def _temporary_folder() -> str:
    import tempfile  # late: a dry run alone needs it

    return tempfile.gettempdir()
