"""What bytes depend on: another value of it is another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastinfer.engine.provenance import check_machine, of_plan, of_run
from fastinfer.errors import ConfigError
from fastinfer.models.module import load_model
from fastinfer.options import Options
from fastinfer.runtimes.batch_size import Batching


class Fixed:
    """A runtime that says what it is."""

    advice = None

    def __init__(self, **identity: Any) -> None:
        self._identity = identity

    def identity(self) -> dict[str, Any]:
        return self._identity


@pytest.mark.parametrize(
    "options",
    [
        {"exact": True},
        {"comment": "#"},
        {"missing": 0.0},
        {"skip_header": True},
        {"on_error": "quarantine"},
        {"device": "gpu"},
        {"cpu_isa": "AVX2"},
    ],
)
def test_an_option_that_moves_bytes_is_in_the_record(options: dict[str, Any], linear: Path) -> None:
    model = load_model(linear)
    assert of_plan(model, Options(**options), "in") != of_plan(model, Options(), "in")


@pytest.mark.parametrize(
    "options", [{"workers": 3}, {"backend": "processes"}, {"durable": True}, {"memory_limit": 1 << 30}]
)
def test_an_option_that_moves_no_bytes_is_not(options: dict[str, Any], linear: Path) -> None:
    model = load_model(linear)
    assert of_plan(model, Options(**options), "in") == of_plan(model, Options(), "in")


def test_model_source_runtime_and_batch_size_are_in_the_record(linear: Path, mlp: Path) -> None:
    runtime: Any = Fixed(mxnet="1.9.1")
    batched, row_wise = Batching(48, False, True), Batching(8, True, True)
    record = of_run(load_model(linear), Options(), "in", runtime, batched)
    assert (record["source"], record["mxnet"], record["batch_size"]) == ("in", "1.9.1", 48)
    assert record["model"] != of_run(load_model(mlp), Options(), "in", runtime, batched)["model"]
    # The size of a row-wise graph moves no bytes.
    assert of_run(load_model(linear), Options(), "in", runtime, row_wise)["batch_size"] is None


def test_a_machine_that_would_give_other_bytes_is_refused(linear: Path) -> None:
    here: Any = Fixed(mxnet="1.9.1", environment={})
    record = of_run(load_model(linear), Options(), "in", here, Batching(48, False, True))
    check_machine(record, here)
    for elsewhere in (Fixed(mxnet="1.9.2", environment={}), Fixed(mxnet="1.9.1", environment={"DNNL_X": "1"})):
        with pytest.raises(ConfigError, match="would give other bytes") as caught:
            check_machine(record, elsewhere)  # type: ignore[arg-type]
        assert caught.value.code == "other_machine"
    with pytest.raises(ConfigError, match=r"c_library is 'glibc 2\.41' there, 'glibc 2\.36' where the run began"):
        check_machine(
            {**record, "c_library": "glibc 2.36"}, Fixed(mxnet="1.9.1", environment={}, c_library="glibc 2.41")
        )  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cpu is"):
        check_machine({**record, "cpu": "another"}, here)
    with pytest.raises(ConfigError, match="cpu_caches is"):
        check_machine({**record, "cpu_caches": [1, 2, 3]}, here)
    # A pinned instruction set is what was asked for: CPUs of different kinds give the same bytes then.
    check_machine({**record, "cpu": "another", "cpu_isa": "AVX2"}, here)
    with pytest.raises(ConfigError, match="blas is 'Prescott' there, 'Haswell' where the run began"):
        check_machine(
            {**record, "cpu": "another", "cpu_isa": "AVX2", "blas": "Haswell"},
            Fixed(mxnet="1.9.1", environment={}, blas="Prescott"),  # type: ignore[arg-type]
        )
