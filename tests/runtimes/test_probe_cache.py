"""What the probe has found is kept, and found again only for the same circumstances."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastinfer.runtimes.base import DenseLayers
from fastinfer.runtimes.probe_cache import Found, cached


def test_the_probes_answer_is_kept_for_what_it_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second, third = (
        Found(sizes, seconds, DenseLayers(sizes[0], chained=sizes[0] == 2, products=sizes[0] == 96))
        for sizes, seconds in (((2, 12), (0.25, 1.5)), ((96,), (1e-3,)), ((48,), (2.0,)))
    )
    answers = iter([first, None, second, third])

    def find() -> Found | None:
        return next(answers)

    assert [cached({"cpu": "a", "sizes": (1, 2)}, find) for _ in range(3)] == [first] * 3
    assert [cached({"cpu": "b"}, find) for _ in range(3)] == [None] * 3
    for path in tmp_path.rglob("*.json"):
        path.write_text('{"batch_size"')
    assert cached({"cpu": "a", "sizes": (1, 2)}, find) == second
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert cached({"cpu": "a"}, find) == third


@pytest.mark.parametrize(
    "kept",
    [
        {"sizes": [], "seconds": []},
        {"sizes": [2, 1], "seconds": [1, 1]},
        {"sizes": [0], "seconds": [1]},
        {"sizes": [3]},
        {"sizes": [3], "seconds": [1]},
        {"sizes": [3], "seconds": [1], "dense": {"rows": 3, "chained": True}},
        {"sizes": [3], "seconds": [10**400], "dense": {"rows": 3, "chained": True, "products": True}},
        {"sizes": [1e400], "seconds": [1], "dense": {"rows": 3, "chained": True, "products": True}},
        {"sizes": [3.0], "seconds": [1], "dense": {"rows": 3, "chained": True, "products": True}},
        {"sizes": [3], "seconds": [0], "dense": {"rows": 3, "chained": True, "products": True}},
        {"sizes": [3], "seconds": [1], "dense": {"rows": 0, "chained": True, "products": True}},
        7,
    ],
)
def test_a_file_that_was_not_written_here_is_not_believed(
    kept: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    true = Found((4,), (1.0,), DenseLayers(4))
    cached({"cpu": "a"}, lambda: true)
    (path,) = tmp_path.rglob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "found": kept}))
    assert cached({"cpu": "a"}, lambda: true) == true
    path.write_text("[" * 100_000)
    assert cached({"cpu": "a"}, lambda: true) == true
