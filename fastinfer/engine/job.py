"""What the workers of a run have in common, and what they report. Both are sent to other processes and machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..codecs.base import Encoder, InputCodec
from ..codecs.json_rows import ENCODER
from ..errors import InputError, without_frames
from ..options import Limits, Options
from ..outputs.layout import OutputLayout
from ..records.spans import Span
from ..runtimes.batch_size import Batching
from ..storage.base import Object, RunStore, Source
from ..storage.claim import Claim
from ..storage.local import LocalStore
from .request import KEEP, LINE, TransformRequest

if TYPE_CHECKING:
    from ..models.load import AnyModel

# The stages of a worker's time, in the order of the data.
STAGES: tuple[str, ...] = ("read", "parse", "forward", "format", "write")


@dataclass(frozen=True)
class Job:
    """What every worker of a run has in common.

    So many attributes: all that a worker needs, in one value that can be pickled.

    Attributes:
        token: unique for each job.
        model: the model.
        devices: (kind, index) of each device; a process binds its graphs to them in turn.
        batching: how rows are computed.
        codec: how objects are read.
        layout: names of the results.
        inputs: where the objects are.
        store: where the results go.
        quarantine: whether what is bad is rejected instead of ending the shard.
        whole_objects: whether a bad record rejects its whole object; else that record alone, and each line is one.
        request: what is asked for.
        options: how it is done.
        by_rows: whether rows of many objects share batches (worker.py); else payloads are answered (payloads.py).
        code: the model's folder or archive, where its own code answers; None: the model answers.
        encoder: what prints the results.
        limits: how much is read and held at a time.
        runtime: the name of the runtime.
        cpu_isa: the highest instruction set that it may use; None: the best of the CPU.
        depends_on: what the bytes of the results depend on, by the run's record; None: nothing is compared.
        parent: the process whose children run the shards and end with it; None for other backends.
        claim: of the run, where workers may outlive it and their results go to a URL; files have it in their store.
    """

    token: str
    model: AnyModel
    devices: tuple[tuple[str, int], ...]
    batching: Batching
    codec: InputCodec
    layout: OutputLayout
    inputs: Source = field(default_factory=LocalStore)
    store: RunStore = field(default_factory=LocalStore)
    quarantine: bool = False
    whole_objects: bool = False
    request: TransformRequest = field(default_factory=TransformRequest)
    options: Options = field(default_factory=Options)
    by_rows: bool = True
    code: str | None = None
    encoder: Encoder = ENCODER
    limits: Limits = field(default_factory=Limits)
    runtime: str = "mxnet"
    cpu_isa: str | None = None
    depends_on: dict[str, Any] | None = None
    parent: int | None = None
    claim: Claim | None = None

    @property
    def rejects_records(self) -> bool:
        """Whether a bad record is rejected by itself."""
        return self.quarantine and not self.whole_objects

    @property
    def payload_bytes(self) -> int:
        """How many bytes an object may have to be one payload, so that its rows may share batches; 0: any number."""
        by_line = self.request.prints_lines and self.request.split_type == LINE
        return 0 if self.request.is_single or by_line else self.request.payload_bytes

    def takes_rows(self, size: int) -> bool:
        """Whether the rows of an object of that size are computed in shared batches."""
        return self.by_rows and (not self.payload_bytes or size <= self.payload_bytes)

    def may_cut(self, size: int) -> bool:
        """Whether an object of that size may be cut into spans: none of them can turn out to be no rows."""
        return self.takes_rows(size) and not self.request.is_single and self.request.header != KEEP

    @property
    def line_is_record(self) -> bool:
        """Whether each line is one row of the model; else only the total of an object's values counts."""
        return self.rejects_records or self.request.is_single or self.request.processes


@dataclass
class ShardReport:
    """What a worker did with a shard.

    Attributes:
        number: the shard's.
        inputs: results of whole objects that were finished.
        records: rows in them, rejected ones included.
        records_read: records that were read for results that were finished; counted where they are read, not where they are
            written, so that the two can be compared.
        rejected: records and whole objects that were rejected.
        bytes_read: size of the objects, or of the spans, that were transformed.
        seconds: time spent in each stage.
        spans: spans that were finished, and how many records of each were rejected.
        refused: spans whose whole objects must be rejected, and why.
        error: what stopped the shard, if anything did.
        failed_at: index of the failed item in the shard, so that the first error in the order of the inputs can be reported.
    """

    number: int
    inputs: int = 0
    records: int = 0
    records_read: int = 0
    rejected: int = 0
    bytes_read: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    spans: list[tuple[Span, int]] = field(default_factory=list)
    refused: list[tuple[Span, InputError]] = field(default_factory=list)
    error: Exception | None = None
    failed_at: int = 0

    def fail(self, error: Exception, items: Sequence[Object | Span]) -> None:
        """Notes an error that stops the shard: of several the one that came first, of errors of inputs the first in order.

        Rows and payloads wait to be computed while later objects are read: a later one may have its error first.

        Args:
            error: what has happened.
            items: of the shard, in order.
        """
        earlier = self.error
        if earlier is None or (
            isinstance(error, InputError)
            and isinstance(earlier, InputError)
            and _place(error, items) < _place(earlier, items)
        ):
            self.error = without_frames(error)


def _place(error: InputError, items: Sequence[Object | Span]) -> tuple[int, float]:
    """Where an error is: the number of the item, behind all of them if it is of none; the line, behind all if it has none."""
    uris = [item.item.uri if isinstance(item, Span) else item.uri for item in items]
    number = uris.index(error.path) if error.path in uris else len(uris)
    return number, math.inf if error.line is None else error.line
