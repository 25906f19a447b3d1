"""Errors of boto3 become fastinfer's, without secrets."""

from __future__ import annotations

import json
import pickle
import time
from typing import Any

import botocore.exceptions
import pytest
from boto3.exceptions import S3UploadFailedError

from fastinfer.errors import ConfigError, FastinferError, ServiceError
from fastinfer.storage.aws import client_config, scrub, translating_errors
from fastinfer.storage.s3_errors import of_boto3


def client_error(word: str, message: str = "no luck", status: int = 400) -> botocore.exceptions.ClientError:
    response: Any = {"Error": {"Code": word, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(response, "Call")


def translated(error: Exception) -> ServiceError:
    with pytest.raises(ServiceError) as caught, translating_errors("doing it"):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client_error("ThrottlingException"), "aws_throttled"),
        (client_error("NoSuchKey"), "aws_missing"),
        (client_error("ValidationException", "Requested resource not found."), "aws_missing"),
        (client_error("ValidationException", "a bad value"), "aws_refused"),
        (client_error("AccessDenied"), "aws_denied"),
        (client_error("ResourceLimitExceeded"), "quota_exceeded"),
        (client_error("InternalFailure", status=500), "aws_unreachable"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"), "aws_unreachable"),
        (botocore.exceptions.NoCredentialsError(), "no_credentials"),
        (botocore.exceptions.ProfileNotFound(profile="nobodys"), "aws_refused"),
    ],
)
def test_each_kind_of_error_has_its_code(error: Exception, code: str) -> None:
    found = translated(error)
    assert found.code == code
    assert str(found).startswith("doing it: ")
    assert found.exit_code == 6
    assert found.transient is (code in ("aws_throttled", "aws_unreachable"))
    if isinstance(error, botocore.exceptions.ClientError):
        assert found.service_code == error.response["Error"]["Code"]


def test_an_error_that_a_transfer_wraps_is_found() -> None:
    # As boto3 raises it: while the client's error is handled, without naming it as the cause.
    error = S3UploadFailedError("failed")
    error.__context__ = client_error("NoSuchBucket")
    assert translated(error).code == "aws_missing"


def test_a_refused_call_is_not_a_wrong_option_and_survives_pickling() -> None:
    found = translated(client_error("SlowDown"))
    assert isinstance(found, FastinferError)
    assert not isinstance(found, ConfigError)
    copy = pickle.loads(pickle.dumps(found))
    assert (copy.code, copy.service_code, str(copy)) == (found.code, "SlowDown", str(found))


def test_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError), translating_errors("doing it"):
        raise ZeroDivisionError
    monkeypatch.setitem(__import__("sys").modules, "botocore.exceptions", None)
    with pytest.raises(ZeroDivisionError), translating_errors("doing it"):
        raise ZeroDivisionError


def test_the_users_own_retries_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS"):
        monkeypatch.delenv(name, raising=False)
    assert client_config().retries["mode"] == "standard"
    monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert client_config().retries == {}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("the key AKIAIOSFODNN7EXAMPLE is unknown", "AKIAIOSFODNN7EXAMPLE"),
        ("GET https://b.s3.amazonaws.com/k?X-Amz-Signature=0a1b2c&X-Amz-Date=1", "0a1b2c"),
        ("https://user:pass@host/x", "pass"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
        ("Authorization: AWS4-HMAC-SHA256, Credential=AB/2020, Signature=fe5f80", "fe5f80"),
        ("what the script printed: topsecretvalue.", "topsecretvalue"),
    ],
)
def test_secrets_are_removed(text: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "topsecretvalue")
    assert secret not in scrub(text)
    assert json.loads(scrub(json.dumps({"text": text}))).keys() == {"text"}


@pytest.mark.parametrize("unit", ["a", "a://", "AKIA", "Signature ", "X-Amz-Signature=", "?", "?X-Amz", "@"])
def test_the_time_for_a_long_line_grows_no_faster_than_its_length(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        times = []
        for _ in range(5):
            began = time.thread_time()
            str(of_boto3(ServiceError(scrub(text))))
            times.append(time.thread_time() - began)
        return min(times)

    # Four times the length takes four times as long; it would be 16 times with the square of it.
    assert seconds(40_000) < 8 * seconds(10_000)


def test_text_without_secrets_stays_as_it_is() -> None:
    for text in ("s3://bucket/key", "https://host/a@b", "AlgorithmError: ValueError", "epoch=1, loss=2"):
        assert scrub(text) == text
