"""Changes of a file within its form: lengths and checksums are right again, so that what lies behind them is read too.

Changed bytes alone seldom get further than the first checksum of an archive or the parser of a JSON document. Each form here
takes a file apart, changes a part, and puts it together.
"""

from __future__ import annotations

import random

from tests.fuzz.forms.archives import change_archive, change_compressed
from tests.fuzz.forms.base import Change, or_bytes
from tests.fuzz.forms.binary import (
    change_idx,
    change_message,
    change_model,
    change_npy,
    change_params,
    change_png,
    change_recordio,
)
from tests.fuzz.forms.texts import change_filters, change_journal, change_json, change_json_lines, change_rows
from tests.fuzz.mutations import mutate


def change_result(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """What a run can write: JSON, alone or in lines, CSV, NPY."""
    form = random_.choice((change_json, change_json_lines, change_rows))
    return (change_npy if content.startswith(b"\x93NUMPY") else form)(random_, content, others)


def change_report(random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """A record of a run on the first line, and a result."""
    record, _, result = content.partition(b"\n")
    kept = [other.partition(b"\n") for other in others]
    if random_.random() < 0.7:
        record = change_json(random_, record, [first for first, _, _ in kept])
    if random_.random() < 0.5:
        result = change_result(random_, result, [rest for _, _, rest in kept])
    return record + b"\n" + result


FORMS: dict[str, Change] = {
    "archive": change_archive,
    "tar": change_archive,
    "model": change_model,
    "graph": change_json,
    "params": change_params,
    "onnx": change_message,
    "certificate": change_json,
    "json": change_json,
    "jsonlines": change_json_lines,
    "csv": change_rows,
    "npy": change_npy,
    "gzip": change_compressed,
    "zstd": change_compressed,
    "recordio": change_recordio,
    "filters": change_filters,
    "job": change_json,
    "manifest": change_json,
    "idx": change_idx,
    "checkpoint_record": change_json,
    "run_record": change_json,
    "rejects": change_json_lines,
    "reject_journal": change_journal,
    "label_journal": change_journal,
    "label_log": change_journal,
    "image": change_png,
    "results": change_result,
    "report": change_report,
    "verify": change_json,
    "lease": change_json,
    "probe_cache": change_json,
}


def change(name: str, random_: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """An input of a target, changed within its form; targets without one, and inputs that do not have it, as bytes."""
    return or_bytes(FORMS.get(name, mutate), random_, content, others)
