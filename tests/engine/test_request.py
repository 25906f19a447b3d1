"""What a run is asked to do: the words of the API in any case, and fields that do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastinfer.engine.request import TransformRequest
from fastinfer.errors import ConfigError
from fastinfer.options import Options
from tests.runs import transform


def test_the_words_of_the_api_are_taken_in_any_case() -> None:
    request = TransformRequest(
        data_type="ManifestFile",
        split_type="Line",
        strategy="SingleRecord",
        compression_type="Gzip",
        assemble_with="None",
    )
    assert (request.data_type, request.split_type, request.strategy) == ("manifestfile", "line", "singlerecord")
    assert (request.compression_type, request.assemble_with) == ("gzip", "none")
    assert request == TransformRequest(
        data_type="manifestfile", split_type="line", strategy="singlerecord", compression_type="gzip"
    )


def test_what_has_its_default_is_not_recorded() -> None:
    assert TransformRequest().record() == {}
    changed = TransformRequest(split_type="Line", max_payload=6, env={"A": "1"}, include=("*.csv",))
    assert changed.record() == {"split_type": "line", "max_payload": 6, "env": {"A": "1"}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split_type": "TFRecord"}, "split_type must be one of none, line, recordio, found 'TFRecord'"),
        ({"strategy": "SingleRecord"}, "strategy='singlerecord' requires split_type='line' or 'recordio'"),
        ({"max_payload": 101}, "max_payload must be a whole number from 0 to 100"),
        ({"max_payload": True}, "max_payload must be"),
        ({"max_concurrent_transforms": -1}, "max_concurrent_transforms must be"),
        ({"max_concurrent_transforms": 100_000}, "max_concurrent_transforms must be a whole number from 0 to 1,024"),
        ({"include": 3}, "include must be a pattern or a list of patterns, found '3'"),
        ({"exclude": ["*.csv", None]}, "exclude must be a pattern or a list"),
        ({"id_column": 0.0}, "id_column must be a whole number or a name, found '0.0'"),
        ({"id_column": np.array([0, 1])}, "id_column must be a whole number or a name"),
        ({"id_column": np.True_}, "id_column must be a whole number or a name"),
        ({"label_column": True}, "label_column must be a whole number or a name"),
        ({"env": {"A": 1}}, "env must have names and values that are text, found 'A=1'"),
        ({"env": {"": "x"}}, "env must have"),
        ({"env": {"A=B": "x"}}, "env must have"),
        ({"env": {"A": "a\0b"}}, "env must have"),
        ({"env": {"A": "\ud800"}}, "env must have"),
        ({"env": "x"}, "env must have"),
        ({"env": {"SAGEMAKER_MODEL_SERVER_WORKERS": "x"}}, "WORKERS must be a whole number from 1 to 1,024, found 'x'"),
        ({"env": {"SAGEMAKER_MODEL_SERVER_WORKERS": "0"}}, "found '0'"),
        ({"env": {"SAGEMAKER_MODEL_SERVER_WORKERS": "9" * 5000}}, "found '999"),
        ({"input_filter": ""}, "input_filter must be text of 1 to 63 characters"),
        ({"input_filter": "$" * 64}, "input_filter must be text"),
        ({"content_type": 5}, "content_type must be text"),
        ({"accept": ""}, "accept must be text"),
        ({"id_column": 0, "input_filter": "$[1:]"}, "cannot be given with others"),
        ({"id_column": 0, "content_type": "application/json"}, "require content_type='text/csv'"),
        ({"header": "keep", "content_type": "application/json"}, "header='keep' requires content_type='text/csv'"),
        ({"join_source": "Input", "content_type": "application/x-npy"}, "filters and joins require content_type="),
    ],
)
def test_wrong_values_are_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        TransformRequest(**fields)
    assert caught.value.code == "bad_option"


def test_parameters_and_case_of_a_content_type_change_nothing_for_filters() -> None:
    for content_type in ("text/csv; charset=utf-8", "TEXT/CSV"):
        request = TransformRequest(content_type=content_type, id_column=0)
        assert request.prints_lines
        # The model's own code is told what was said.
        assert request.content_type == content_type


def test_a_filter_that_is_no_path_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"input_filter '\$\[1': expected , or \] at character 4"):
        TransformRequest(input_filter="$[1")


def test_messages_name_fields_as_they_were_typed() -> None:
    with pytest.raises(ConfigError, match=r"^--strategy singlerecord requires --split-type line$"):
        TransformRequest(
            strategy="SingleRecord",
            spell=lambda name, *values: f"--{name.replace('_', '-')} {' '.join(values[:1])}".strip(),
        )


def test_the_servers_workers_are_those_of_the_run_where_nothing_else_says_how_many(
    linear: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("1,2\n")
    request = TransformRequest(env={"SAGEMAKER_MODEL_SERVER_WORKERS": "3"})
    assert request.server_workers == 3
    assert transform(linear, tmp_path / "x.csv", tmp_path / "out", request=request).workers == 3
    asked = Options(workers=2)
    assert transform(linear, tmp_path / "x.csv", tmp_path / "two", asked, request=request).workers == 2


def test_columns_may_be_numbers_of_numpy(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("7,1,2,8\n")
    request = TransformRequest(id_column=np.int64(0), label_column=np.int8(-1))  # type: ignore[arg-type]
    assert type(request.id_column) is type(request.label_column) is int
    transform(linear, tmp_path / "x.csv", tmp_path / "out", request=request)
    transform(linear, tmp_path / "x.csv", tmp_path / "out", request=TransformRequest(id_column=0, label_column=-1))
    assert (tmp_path / "out" / "x.csv.out").read_bytes().startswith(b"7,8,")
