"""Options of the command to the request of a run."""

from __future__ import annotations

import argparse

import pytest

from fastinfer.commands._request import add_request_options, request_of
from fastinfer.engine.request import TransformRequest
from fastinfer.errors import ConfigError


def typed(*words: str) -> TransformRequest:
    parser = argparse.ArgumentParser()
    parser.add_argument("--header", default="none")  # of the command itself
    add_request_options(parser)
    return request_of(parser.parse_args(words))


def test_without_options_the_request_has_its_defaults() -> None:
    assert typed() == TransformRequest(compression_type="auto")


def test_options_are_fields_of_the_request() -> None:
    assert typed("--manifest", "--include", "*.csv", "--include", "part-*", "--exclude", "old/*") == TransformRequest(
        data_type="ManifestFile", include=("*.csv", "part-*"), exclude=("old/*",), compression_type="auto"
    )


def test_words_are_taken_in_any_case_and_columns_by_number_or_name() -> None:
    words = "--split-type Line --strategy SingleRecord --assemble-with Line --max-payload 6 --compression-type GZIP"
    assert typed(*words.split()) == TransformRequest(
        split_type="line", strategy="singlerecord", assemble_with="line", max_payload=6, compression_type="gzip"
    )
    assert typed("--id-column", "-1").id_column == -1
    assert typed("--id-column", "id 2", "--header", "keep").id_column == "id 2"


def test_what_is_wrong_is_named_as_it_was_typed() -> None:
    for words, message in (
        (["--strategy", "singlerecord"], "--strategy singlerecord requires --split-type line or recordio"),
        (["--input-filter", "$["], r"--input-filter '\$\['"),
        (["--id-column", "0", "--join-source", "input"], "--id-column and --label-column are filters themselves"),
    ):
        with pytest.raises(ConfigError, match=message):
            typed(*words)
