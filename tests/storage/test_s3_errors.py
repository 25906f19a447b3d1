"""What S3 answers becomes a fact about an object, or a fault of the service, in one line with what to do."""

from __future__ import annotations

import errno

import pytest

from fastinfer.errors import ServiceError
from fastinfer.storage.s3_errors import ConditionNotMet, of_answer, of_boto3


def body(code: str, message: str = "the reason.") -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "NoSuchKey", errno.ENOENT),
        (404, "", errno.ENOENT),
        (416, "InvalidRange", errno.ESTALE),
        (403, "AccessDenied", errno.EACCES),
        (403, "", errno.EACCES),
    ],
)
def test_what_concerns_one_object_is_an_error_of_the_system(status: int, code: str, expected: int) -> None:
    error = of_answer("reading s3://b/k", status, body(code) if code else "")
    assert isinstance(error, OSError)
    assert error.errno == expected


@pytest.mark.parametrize(
    ("status", "code", "expected", "hint"),
    [
        (404, "NoSuchBucket", "aws_missing", "bucket"),
        (403, "InvalidAccessKeyId", "aws_denied", "access key"),
        (403, "SignatureDoesNotMatch", "aws_denied", "secret"),
        (400, "ExpiredToken", "aws_denied", "new credentials"),
        (301, "PermanentRedirect", "aws_refused", "region"),
        (400, "AuthorizationHeaderMalformed", "aws_refused", "region"),
        (400, "KMS.DisabledException", "aws_refused", None),
        (503, "SlowDown", "aws_throttled", None),
        (503, "ServiceUnavailable", "aws_unreachable", None),
        (500, "InternalError", "aws_unreachable", None),
        (502, "", "aws_unreachable", None),
        (429, "", "aws_throttled", None),
        (400, "RequestTimeout", "aws_unreachable", None),
    ],
)
def test_what_concerns_the_service_says_what_to_do(status: int, code: str, expected: str, hint: str | None) -> None:
    error = of_answer("reading s3://b/k", status, body(code) if code else "<html>bad\n gateway</html>")
    assert isinstance(error, ServiceError)
    assert (error.code, error.service_code) == (expected, code)
    assert str(error).startswith("reading s3://b/k: ")
    assert "\n" not in str(error)
    assert (hint or "") in (error.hint or "")
    assert error.transient is (status in (500, 502, 503, 429) or code == "RequestTimeout")


@pytest.mark.parametrize(
    ("status", "code"), [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict"), (412, "")]
)
def test_a_condition_that_is_not_met_is_neither(status: int, code: str) -> None:
    assert isinstance(of_answer("writing s3://b/k", status, body(code)), ConditionNotMet)


@pytest.mark.parametrize(
    ("status", "expected", "word"), [(503, "aws_throttled", "SlowDown"), (501, "aws_refused", "NotImplemented")]
)
def test_an_answer_whose_body_is_not_known_is_told_by_its_status(status: int, expected: str, word: str) -> None:
    error = of_answer("reading s3://b/k", status, f"Server returned non-2xx status code: {status} Some Words: ")
    assert isinstance(error, ServiceError)
    assert (error.code, error.service_code) == (expected, word)
    assert str(error) == f"reading s3://b/k: HTTP status {status}"  # not a word that the server may not have said
    assert error.transient is (status == 503)


def test_a_signed_url_is_not_repeated() -> None:
    error = ServiceError('listing s3://b/k: no answer from "http://h/b?list-type=2&X-Amz-Signature=(hidden)"')
    assert str(of_boto3(error)) == 'listing s3://b/k: no answer from "http://h/b"'
    assert str(of_boto3(ServiceError("really? http://h/b?c&X-Amz-Date=1"))) == "really? http://h/b"
