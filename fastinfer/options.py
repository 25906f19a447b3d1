"""The options and paths of a run, which users set and which are checked here, and its limits. Imports nothing heavy."""

from __future__ import annotations

import numbers
import os
import reprlib
from dataclasses import InitVar, dataclass, fields
from typing import Any, Callable

from .errors import ConfigError, quote

BACKENDS = ("threads", "processes", "dask", "ray")
RUNTIMES = ("mxnet", "onnx")
CODE = ("run", "ignore")
RECORDS = ("lines", "total")
ON_ERROR = ("stop", "quarantine", "continue")

# The variable that says what a request accepts that does not say it.
ACCEPT_VARIABLE = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"

# The names that oneDNN 2, which MXNet 1.9 is built with, reads from DNNL_MAX_CPU_ISA.
CPU_ISA_VARIABLE = "DNNL_MAX_CPU_ISA"
CPU_ISAS = ("SSE41", "AVX", "AVX2", "AVX512_MIC", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16")


# An option's name, and values of it, as its user writes them; so that a message names what was typed.
Spelling = Callable[..., str]

# By the annotation of a field: what its values are, how a message says so, and what makes Python's own type of NumPy's.
KINDS: dict[str, tuple[type, str, Callable[[Any], Any]]] = {
    "bool": (bool, "True or False", bool),
    "int": (numbers.Integral, "a whole number", int),
    "float": (numbers.Real, "a number", float),
    "str": (str, "text", str),
}


def as_keyword(name: str, *values: str) -> str:
    """An option, and values of it, as Python's users write them: ``backend='dask' or 'ray'``."""
    return f"{name}={' or '.join(map(repr, values))}" if values else name


# Each worker has a bound graph: more than any machine's cores would only take memory.
MOST_WORKERS = 1024


@dataclass(frozen=True)
class Options:
    """The options of a run. The defaults are those of the command.

    So many attributes: the options of the command, by their names.

    Attributes:
        exact: whether each row is computed as at batch size 1, which gives exactly the container's bytes.
        batch_size: rows of one forward pass; None: a size at which a row's bytes depend only on that row.
        workers: number of workers, at most 1,024, each with its own bound graph; None: one per core, or one per GPU.
        device: ``cpu``, ``gpu``, ``gpu:0,1``.
        overwrite: whether existing outputs are replaced.
        comment: a character; from it to the end of its line everything is skipped.
        missing: the value of an empty cell; without it an empty cell is an error.
        skip_header: whether the first line of each file is skipped.
        records: which lines make a record. ``lines``: a line is made of whole records, or a record of whole lines; else the
            object is refused. ``total``: only the total of values counts, as in SageMaker's container.
        backend: ``threads``; ``processes`` for isolation; ``dask`` or ``ray`` for other machines, which must see inputs and
            outputs under the same paths.
        address: of the dask scheduler or the ray cluster; None: one is started on this machine for the run.
        on_error: ``stop`` at the first bad record, or ``quarantine``: write bad records to ``_rejects.jsonl`` and continue.
            With ``quarantine`` each line is a record, and the output has ``null`` in the place of a bad one. With
            ``continue`` a bad record fails its whole object, as in Batch Transform, and the other objects are transformed.
        max_errors: how many records may be rejected, with those of earlier runs whose results stay; None: any number.
        memory_limit: bytes that this process may use; a line that is too long for it is an error. None: 256 MiB per line.
        durable: whether outputs are written to the disk, not only to the system's memory, before they get their names.
        cpu_isa: the highest instruction set that oneDNN and OpenBLAS may use, such as ``AVX2``, so that machines of different
            kinds give the same bytes; None: the best of the CPU.
        runtime: what computes: ``mxnet``, or ``onnx`` for models in ONNX; None: the one of the model's format.
        code: what is done with hooks in the model's own code. ``run``: they answer, as in SageMaker's container; ``ignore``:
            the model answers without them; None: where there are any, that is an error.
        table: a file ``*.parquet`` or ``*.csv``, also at a URL, that is made of all results when the run is done;
            :func:`fastinfer.read_table` reads it; None: none.
        spell: (only an argument) how messages name the options; None: :func:`as_keyword`.

    Raises:
        ConfigError: an option has a value of a wrong type, or a wrong value.
    """

    exact: bool = False
    batch_size: int | None = None
    workers: int | None = None
    device: str = "cpu"
    overwrite: bool = False
    comment: str | None = None
    missing: float | None = None
    skip_header: bool = False
    records: str = "lines"
    backend: str = "threads"
    address: str | None = None
    on_error: str = "stop"
    max_errors: int | None = None
    memory_limit: int | None = None
    durable: bool = False
    cpu_isa: str | None = None
    runtime: str | None = None
    code: str | None = None
    table: str | os.PathLike[str] | None = None
    spell: InitVar[Spelling | None] = None

    def __post_init__(self, spell: Spelling | None) -> None:
        spell = spell or as_keyword
        if isinstance(self.table, os.PathLike):
            object.__setattr__(self, "table", os.fspath(self.table))
        self._check_types(spell)
        if self.table is not None:
            path_of(self.table, spell("table"))
        for name in ("batch_size", "workers", "memory_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{spell(name)} must be at least 1, found {value}")
        if self.workers is not None and self.workers > MOST_WORKERS:
            raise ConfigError(f"{spell('workers')} must be at most {MOST_WORKERS:,}, found {self.workers:,}")
        words = {
            "backend": BACKENDS,
            "on_error": ON_ERROR,
            "records": RECORDS,
            "cpu_isa": (None, *CPU_ISAS),
            "code": (None, *CODE),
            "runtime": (None, *RUNTIMES),
        }
        for name, choices in words.items():
            value = getattr(self, name)
            if value not in choices:
                listed = ", ".join(choice for choice in choices if choice)
                raise ConfigError(f"{spell(name)} must be one of {listed}, found {quote(value)}")
        if self.max_errors is not None and (self.max_errors < 0 or self.on_error == "stop"):
            raise ConfigError(
                f"{spell('max_errors')} must be at least 0, and requires {spell('on_error', *ON_ERROR[1:])}"
            )
        if self.address is not None and self.backend not in ("dask", "ray"):
            raise ConfigError(
                f"{spell('address')} requires {spell('backend', 'dask', 'ray')}, found {quote(self.backend)}"
            )
        parse_device(self.device)
        if self.comment is not None:
            from ._native.text import CsvParser  # late: most options have none

            CsvParser(comment=self.comment)  # refuses a character that a number may contain

    def _check_types(self, spell: Spelling) -> None:
        for field in fields(self):
            value, (kind, _, optional) = getattr(self, field.name), str(field.type).partition(" | ")
            if value is None and optional:
                continue
            expected, words, convert = KINDS[kind]
            # For Python, True is also a whole number.
            fits = isinstance(value, expected) and (kind == "bool" or not isinstance(value, bool))
            try:
                object.__setattr__(self, field.name, convert(value) if fits else value)
            except OverflowError:
                fits = False
            if not fits:
                raise ConfigError(f"{spell(field.name)} must be {words}, found {_describe(value)}")

    @property
    def quarantine(self) -> bool:
        """Whether the run continues behind bad records or objects, which are rejected."""
        return self.on_error != "stop"


@dataclass(frozen=True)
class Limits:
    """How much is read, held and planned at a time. The defaults were found with benchmarks/bench_engine.py.

    Attributes:
        chunk_bytes: bytes of an object that are read at a time; the buffer grows for a longer line.
        line_bytes: the longest line.
        large_object_bytes: an object of this size or more is cut into ``spans`` spans: enough that all workers finish
            together; but of at least ``span_bytes_least``, so that the overhead of each (its own file) is negligible, and of
            at most ``span_bytes_most``, so that a killed run loses little.
        far_span_bytes_least: as ``span_bytes_least``, for objects that are read by requests: each span costs one more.
        costly_object_bytes: as ``large_object_bytes``, for files of this machine where a record is much work for its bytes:
            else a file of few records would keep one worker busy while the others wait.
        shard_objects, shard_bytes: the largest shard: much larger than a batch, because its last batch is only partly filled,
            and much smaller than the whole run.
        far_shard_objects: as ``shard_objects``, for objects that are listed by requests, a thousand in each: work begins before
            many of them are answered. That a worker's last batch is small costs less than the requests of its objects.
    """

    chunk_bytes: int = 1 << 20
    line_bytes: int = 256 << 20
    large_object_bytes: int = 16 << 20
    spans: int = 64
    span_bytes_least: int = 2 << 20
    far_span_bytes_least: int = 4 << 20
    span_bytes_most: int = 16 << 20
    costly_object_bytes: int = 4 << 20
    shard_objects: int = 4096
    far_shard_objects: int = 1000
    shard_bytes: int = 64 << 20

    def span_bytes(self, object_bytes: int, *, is_far: bool = False) -> int:
        """The size of a large object's spans. It depends on nothing else, so that a later run makes the same cuts.

        Args:
            object_bytes: the size of the object.
            is_far: whether it is read by requests.
        """
        least = self.far_span_bytes_least if is_far else self.span_bytes_least
        return min(max(object_bytes // self.spans, least), self.span_bytes_most)


def path_of(value: object, name: str) -> str:
    """A path that a user gave, as text.

    Args:
        value: text, or a path object.
        name: what messages call it.

    Raises:
        ConfigError: it is something else, is empty, or has a character that no file's name has.
    """
    path = value if isinstance(value, str) else value.__fspath__() if isinstance(value, os.PathLike) else None
    if not isinstance(path, str) or not path:
        raise ConfigError(f"{name} must be a path, found {_describe(value)}")
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ConfigError(f"{name} has a character that no path has: {quote(path)}")
    return path


def _describe(value: object) -> str:
    """A value of any type, shortened, with its type."""
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def default_accept() -> str | None:
    """What a request accepts that does not say it, by the environment; None: that is not said, and it is JSON."""
    return os.environ.get(ACCEPT_VARIABLE) or None


def accepts_any(accept: str | None) -> bool:
    """Whether a request does not say what it accepts."""
    return not accept or accept == "*/*"


def parse_device(text: str) -> list[tuple[str, int]]:
    """The devices that ``text`` names, as (kind, index): ``gpu:0,1`` is [("gpu", 0), ("gpu", 1)].

    Raises:
        ConfigError: ``bad_device`` if it does not have that form.
    """
    kind, colon, listed = text.partition(":")
    indices = listed.split(",") if colon else ["0"]
    if kind not in ("cpu", "gpu") or not all(index.isascii() and index.isdigit() for index in indices):
        raise ConfigError(f"expected cpu, gpu, gpu:0 or gpu:0,1, found {quote(text)}", code="bad_device")
    devices = [(kind, int(index)) for index in indices]
    if len(set(devices)) < len(devices):
        raise ConfigError(f"{quote(text)} names a device twice", code="bad_device")
    return devices
