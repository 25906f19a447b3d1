"""The facts of a run, as they are printed."""

from __future__ import annotations

from fastinfer.engine.summary import Summary


def test_a_rate_is_of_the_records_and_of_the_time_without_the_start() -> None:
    summary = Summary(records=300, seconds=2.0, startup_seconds=5.0)
    assert summary.records_per_second == 150
    assert summary.as_dict()["records_per_second"] == 150
    assert Summary().records_per_second == 0


def test_all_facts_are_in_the_dictionary() -> None:
    facts = Summary(inputs=1, skipped=2, stage_seconds={"read": 0.5}).as_dict()
    assert (facts["inputs"], facts["skipped"], facts["stage_seconds"]) == (1, 2, {"read": 0.5})
