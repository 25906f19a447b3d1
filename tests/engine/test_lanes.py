"""Which road objects take."""

from __future__ import annotations

from typing import Any

import pytest

from fastinfer.engine.lanes import choose_lane
from fastinfer.engine.request import TransformRequest


@pytest.mark.parametrize(
    ("fields", "code", "by_rows"),
    [
        ({}, False, True),
        ({"content_type": "Text/CSV; charset=utf-8", "accept": "*/*"}, False, True),
        ({"split_type": "Line", "strategy": "SingleRecord"}, False, True),
        ({}, True, False),
        ({"content_type": "text/plain"}, False, False),
        ({"content_type": "application/x-npy"}, False, True),
        ({"content_type": "application/json", "split_type": "Line"}, False, False),
        ({"compression_type": "auto"}, False, True),
        ({"compression_type": "auto", "max_payload": 6}, False, True),
        ({"compression_type": "Gzip", "max_payload": 6, "split_type": "Line"}, False, True),
        ({"accept": "application/x-npy"}, False, False),
        ({"split_type": "RecordIO"}, False, False),
    ],
)
def test_rows_are_chosen_where_they_give_the_same_bytes(fields: dict[str, Any], code: bool, by_rows: bool) -> None:
    assert choose_lane(TransformRequest(**fields), code=code).by_rows is by_rows
