"""What a run is asked to do, apart from how: the fields of a CreateTransformJob request, checked.

The command's options, a job file, a local job of the SageMaker adapter and ``fastinfer.transform`` all make a
:class:`TransformRequest`; what does not change an output (workers, device, backend, …) is in :class:`.options.Options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, fields, replace
from numbers import Integral
from operator import index
from typing import Any, Optional, Union

from ..errors import ConfigError, quote
from ..options import MOST_WORKERS, Spelling, accepts_any, as_keyword, default_accept
from ..records.compression import COMPRESSION_TYPES
from ..storage.uri import is_utf8

PREFIX, MANIFEST = "s3prefix", "manifestfile"
NONE, LINE, RECORDIO = "none", "line", "recordio"
MULTI, SINGLE = "multirecord", "singlerecord"
INPUT, KEEP, SKIP = "input", "keep", "skip"
# The filter that selects all there is.
ALL = "$"

# The words of each field. They are those of the API, in any case.
WORDS: dict[str, tuple[str, ...]] = {
    "data_type": (PREFIX, MANIFEST),
    "compression_type": COMPRESSION_TYPES,
    "split_type": (NONE, LINE, RECORDIO),
    "strategy": (MULTI, SINGLE),
    "assemble_with": (NONE, LINE),
    "join_source": (NONE, INPUT),
    "header": (NONE, SKIP, KEEP),
}
TEXTS = ("content_type", "accept", "input_filter", "output_filter")
# The API's longest content type, largest payload and longest filter.
TEXT_CHARACTERS = 256
FILTER_CHARACTERS = 63
PAYLOAD_MB = 100

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
# The variable of the environment that says how many workers the container's server has.
SERVER_WORKERS = "SAGEMAKER_MODEL_SERVER_WORKERS"
# Content types whose records can be filtered and joined.
PROCESSED_TYPES = (CSV, JSON, JSON_LINES)

# A column of a CSV row: its number, counted from 0, from the last one with a minus; or its name in the header.
Column = Optional[Union[int, str]]


@dataclass(frozen=True)
class TransformRequest:
    """What a run is asked to do. The names are those of SageMaker's SDK.

    So many attributes: the fields of a CreateTransformJob request, and a few that it lacks.

    Attributes:
        data_type: ``S3Prefix``: the source is a folder, a file, a glob or a prefix; ``ManifestFile``: a list of objects.
        include, exclude: patterns of keys, or of their last parts, that are transformed, and that are not.
        content_type: of the objects.
        accept: the content types that results may have; None: JSON.
        compression_type: of the objects: ``None``, ``Gzip``, and beyond the API ``zstd`` and ``auto``, by their first bytes.
        split_type: what a record is: ``None``: a whole object; ``Line``; ``RecordIO``.
        strategy: ``MultiRecord``: as many records in a payload as `max_payload` allows; ``SingleRecord``: one in each.
        max_payload: the largest payload, in MiB; 0 or None: no limit.
        assemble_with: what follows each answer in the result: ``None`` or ``Line``, a line end.
        input_filter: which part of a record the model is given, as SageMaker's JSONPath.
        output_filter: which part of the (joined) answer is kept.
        join_source: ``None``, or ``Input``: the record is joined with its answer.
        inclusive_slices: whether ``[a:b]`` includes b, as AWS's page has it; else it does not, as in JSONPath.
        header: the first line of each CSV object: ``none``: a record; ``skip``: is left out; ``keep``: has the names of the
            columns, and is kept in a joined result.
        id_column, label_column: columns that the model is not given, and that are joined in front of its answer; a number
            from 0, or a name of the header.
        env: environment variables of the run.
        max_concurrent_transforms: payloads at a time; None: as many as there are workers.
        spell: (only an argument) how messages name the fields; None: :func:`fastinfer.options.as_keyword`.

    Raises:
        ConfigError: a field has a wrong value, or two do not go together.
    """

    data_type: str = PREFIX
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    content_type: str = CSV
    accept: str | None = None
    compression_type: str = NONE
    split_type: str = NONE
    strategy: str = MULTI
    max_payload: int | None = None
    assemble_with: str = NONE
    input_filter: str = ALL
    output_filter: str = ALL
    join_source: str = NONE
    inclusive_slices: bool = False
    header: str = NONE
    id_column: Column = None
    label_column: Column = None
    env: Mapping[str, str] = field(default_factory=dict)
    max_concurrent_transforms: int | None = None
    spell: InitVar[Spelling | None] = None

    def __post_init__(self, spell: Spelling | None) -> None:
        spell = spell or as_keyword
        for name, words in WORDS.items():
            value = getattr(self, name)
            word = NONE if value is None else str(value).lower()
            if word not in words:
                raise ConfigError(f"{spell(name)} must be one of {', '.join(words)}, found {quote(str(value))}")
            object.__setattr__(self, name, word)
        for name in ("include", "exclude"):
            object.__setattr__(self, name, self._check_patterns(name, spell))
        for name in ("id_column", "label_column"):
            self._check_column(name, spell)
        for name in TEXTS:
            self._check_text(name, spell)
        payload = self.max_payload
        if payload is not None and not (_is_whole(payload) and 0 <= payload <= PAYLOAD_MB):
            raise ConfigError(
                f"{spell('max_payload')} must be a whole number from 0 to {PAYLOAD_MB}, found {payload!r}"
            )
        most = self.max_concurrent_transforms
        if most is not None and not (_is_whole(most) and 0 <= most <= MOST_WORKERS):
            # Each has a worker here.
            raise ConfigError(
                f"{spell('max_concurrent_transforms')} must be a whole number from 0 to {MOST_WORKERS:,}, found {most!r}"
            )
        self._check_environment(spell)
        for name in ("input_filter", "output_filter"):
            if getattr(self, name) != ALL:
                # Imported late: a run without filters does not need it.
                from ..records.jsonpath import Path

                Path(getattr(self, name), spelled=spell(name))
        self._check_together(spell)

    def _check_patterns(self, name: str, spell: Spelling) -> tuple[str, ...]:
        value = getattr(self, name)
        patterns = (value,) if isinstance(value, str) else value
        if not isinstance(patterns, (tuple, list)) or not all(isinstance(each, str) for each in patterns):
            raise ConfigError(f"{spell(name)} must be a pattern or a list of patterns, found {quote(str(value))}")
        return tuple(patterns)

    def _check_column(self, name: str, spell: Spelling) -> None:
        value = getattr(self, name)
        if value is None or isinstance(value, str):
            return
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ConfigError(f"{spell(name)} must be a whole number or a name, found {quote(str(value))}")
        # Python's own also for one of NumPy, which the record of a run could not hold.
        object.__setattr__(self, name, index(value))

    def _check_text(self, name: str, spell: Spelling) -> None:
        value = getattr(self, name)
        if value is None and name == "accept":
            return
        most = FILTER_CHARACTERS if name.endswith("filter") else TEXT_CHARACTERS
        if not isinstance(value, str) or not value or len(value) > most:
            raise ConfigError(f"{spell(name)} must be text of 1 to {most} characters, found {quote(str(value))}")

    def _check_environment(self, spell: Spelling) -> None:
        found = self.env if isinstance(self.env, Mapping) else {"": self.env}
        for name, value in found.items():
            texts = isinstance(name, str) and isinstance(value, str)
            if not texts or not name or "=" in name or "\0" in name + value or not is_utf8(name + value):
                raise ConfigError(
                    f"{spell('env')} must have names and values that are text, found {quote(f'{name}={value}')}"
                )
        workers = found.get(SERVER_WORKERS)
        if workers is not None and not _is_worker_count(workers):
            raise ConfigError(
                f"{spell('env')}: {SERVER_WORKERS} must be a whole number from 1 to {MOST_WORKERS:,}, found {quote(workers)}"
            )

    def _check_together(self, spell: Spelling) -> None:
        if self.strategy == SINGLE and self.split_type == NONE:
            raise ConfigError(f"{spell('strategy', SINGLE)} requires {spell('split_type', LINE, RECORDIO)}")
        if self.id_column is not None or self.label_column is not None:
            if (self.input_filter, self.output_filter, self.join_source) != (ALL, ALL, NONE):
                raise ConfigError(
                    f"{spell('id_column')} and {spell('label_column')} are filters themselves, and cannot be given with others"
                )
            if self.essence != CSV:
                raise ConfigError(
                    f"{spell('id_column')} and {spell('label_column')} require {spell('content_type', CSV)}"
                )
        if self.header != NONE and self.essence != CSV:
            raise ConfigError(f"{spell('header', self.header)} requires {spell('content_type', CSV)}")
        if self.processes and self.essence not in PROCESSED_TYPES:
            raise ConfigError(f"filters and joins require {spell('content_type', *PROCESSED_TYPES)}")
        if self.processes and self.split_type == RECORDIO and self.essence != JSON:
            raise ConfigError(
                f"{spell('split_type', RECORDIO)}: filters and joins of {self.essence} are those of lines, not of records"
            )

    @property
    def essence(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def payload_bytes(self) -> int:
        """The largest payload, in bytes; 0: no limit."""
        return (self.max_payload or 0) << 20

    @property
    def server_workers(self) -> int | None:
        """How many workers the container's server would have by the environment; None: that is not said."""
        return int(self.env[SERVER_WORKERS]) if SERVER_WORKERS in self.env else None

    @property
    def joins(self) -> bool:
        """Whether a part of the record stands in the result."""
        return self.join_source == INPUT or self.id_column is not None or self.label_column is not None

    @property
    def processes(self) -> bool:
        """Whether records are filtered or joined."""
        return self.joins or (self.input_filter, self.output_filter) != (ALL, ALL)

    @property
    def prints_lines(self) -> bool:
        """Whether results are lines of CSV, one for each row, that filters and joins make."""
        return self.essence == CSV and (self.joins or self.output_filter != ALL)

    @property
    def is_single(self) -> bool:
        """Whether each record is an answer of its own in the result."""
        return self.strategy == SINGLE and not self.prints_lines

    def with_default_accept(self) -> TransformRequest:
        """The same with what the environment says that requests accept, if this one does not say it."""
        accept = default_accept() if accepts_any(self.accept) else None
        return self if accept is None else replace(self, accept=accept, spell=None)

    def record(self) -> dict[str, Any]:
        """What of it the bytes of results depend on, for the record of a run: the fields that have not their default."""
        # An object that can be read with two kinds of compression has the same bytes with both.
        left_out = ("env", "max_concurrent_transforms", "include", "exclude", "max_payload", "compression_type")
        found = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name not in left_out and getattr(self, each.name) != each.default
        }
        if self.max_payload:
            found["max_payload"] = self.max_payload
        if self.env:
            found["env"] = dict(self.env)
        return found


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_worker_count(text: str) -> bool:
    digits = text.lstrip("0")
    # int() refuses thousands of digits.
    return digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits) <= MOST_WORKERS
