"""What SageMaker's environment says, and what follows from settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastinfer.errors import ConfigError, ModelError
from fastinfer.serving.settings import Settings, find_served_model, from_environment, parse_payload_mb, parse_port


def make_settings(*, workers: int, payload_mb: int) -> Settings:
    return Settings(
        model=Path("model"),
        program=None,
        exact=False,
        batch_size=None,
        device="cpu",
        host="127.0.0.1",
        port=8080,
        workers=workers,
        max_delay_s=0.0,
        payload_mb=payload_mb,
        grace_s=8.0,
        drain_s=0.3,
        access_log=False,
    )


def test_the_default_limit_of_a_body_is_the_containers() -> None:
    assert make_settings(workers=1, payload_mb=6).payload_bytes == 6_553_500
    assert make_settings(workers=1, payload_mb=100).payload_bytes > 100 << 20


@pytest.mark.parametrize(
    ("workers", "payload_mb", "concurrent"), [(1, 6, 8), (2, 6, 16), (2, 20, 5), (8, 100, 1), (1, 1, 8)]
)
def test_a_transform_job_sends_what_the_service_allows(workers: int, payload_mb: int, concurrent: int) -> None:
    assert make_settings(workers=workers, payload_mb=payload_mb).execution_parameters == {
        "MaxConcurrentTransforms": concurrent,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": payload_mb,
    }


def test_sagemakers_folder_is_served_before_the_shipped_model_and_after_a_named_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    assert find_served_model(None)[1] == "the MNIST model that fastinfer ships"
    (tmp_path / "model").mkdir()
    assert find_served_model(None) == (tmp_path / "model", "$SAGEMAKER_BASE_DIR")
    monkeypatch.setenv("SM_MODEL_DIR", "/elsewhere")
    assert find_served_model(None)[0] == Path("/elsewhere")
    assert find_served_model("named")[0] == Path("named")


def test_numbers_are_digits_within_their_limits() -> None:
    assert [parse_port(text) for text in ("0", "8080", "65535")] == [0, 8080, 65535]
    assert [parse_payload_mb(text) for text in ("1", "100")] == [1, 100]
    for text in ("65536", "-1", "", "x", "1.5", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT ONE}"):
        with pytest.raises(ValueError, match=r"^expected a port from 0 to 65535, found "):
            parse_port(text)
    for text in ("0", "101"):
        with pytest.raises(ValueError, match=r"^expected a number of MB from 1 to 100, found "):
            parse_payload_mb(text)


def test_a_variable_that_is_not_set_is_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_PORT", raising=False)
    assert from_environment("SOME_PORT", parse_port, 1) == 1
    monkeypatch.setenv("SOME_PORT", "")
    assert from_environment("SOME_PORT", parse_port, 1) == 1
    monkeypatch.setenv("SOME_PORT", "2")
    assert from_environment("SOME_PORT", parse_port, 1) == 2
    monkeypatch.setenv("SOME_PORT", "x")
    with pytest.raises(ConfigError, match=r"^\$SOME_PORT: expected a port"):
        from_environment("SOME_PORT", parse_port, 1)


def test_a_model_that_is_not_at_its_url_is_an_error_of_the_model() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(ModelError, match="no object has this key") as caught:
        find_served_model("memory://nowhere/model.tar.gz")
    assert (caught.value.code, caught.value.path) == ("model_missing", "memory://nowhere/model.tar.gz")
