"""What a run did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Summary:
    """What a run did.

    So many attributes: the facts of a run one by one, as ``--json`` prints them.

    Attributes:
        inputs: objects transformed now.
        skipped: objects whose outputs an earlier run had finished.
        records: rows of their outputs, rejected ones included.
        records_read: records that were read for these outputs; as many as there are rows.
        rejected: records and whole objects that were rejected, by this run or by earlier runs whose outputs are kept.
        bytes_read: size of the objects transformed.
        seconds: wall time of the run without the start.
        startup_seconds: loading the runtime, choosing the batch size, starting the workers (part of the start of worker
            processes is in ``seconds``).
        peak_memory_bytes: largest resident size so far of this process, also before the run, or of one of its children that
            have ended, worker processes of this machine among them; not of the workers of a cluster.
        batch_size: the most rows of a forward pass.
        invariant: whether a row's bytes depend on that row alone.
        workers: the number of workers.
        stage_seconds: time of all workers together in each stage; ``wait`` is their remaining time.
    """

    inputs: int = 0
    skipped: int = 0
    records: int = 0
    records_read: int = 0
    rejected: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    startup_seconds: float = 0.0
    peak_memory_bytes: int = 0
    batch_size: int = 0
    invariant: bool = True
    workers: int = 0
    stage_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def records_per_second(self) -> float:
        return self.records / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All fields, as ``--json`` prints them."""
        return {**asdict(self), "records_per_second": self.records_per_second}
