"""Options of the command to the request of a run."""

from __future__ import annotations

import argparse

from fastinfer.commands._request import add_request_options, request_of
from fastinfer.engine.request import TransformRequest


def typed(*words: str) -> TransformRequest:
    parser = argparse.ArgumentParser()
    add_request_options(parser)
    return request_of(parser.parse_args(words))


def test_without_options_the_request_has_its_defaults() -> None:
    assert typed() == TransformRequest()


def test_options_are_fields_of_the_request() -> None:
    assert typed("--manifest", "--include", "*.csv", "--include", "part-*", "--exclude", "old/*") == TransformRequest(
        data_type="ManifestFile", include=("*.csv", "part-*"), exclude=("old/*",)
    )
