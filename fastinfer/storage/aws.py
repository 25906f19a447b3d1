"""The only door to boto3: imported late, retrying what is worth it, its errors told as fastinfer's, without secrets.

botocore's standard mode retries throttling and transient errors; what is left is raised as a
:class:`~fastinfer.errors.FastinferError` whose ``code`` says what kind it is.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from ..errors import ConfigError

# Tries of one call; a job's wait lasts hours, and seconds of backing off do not matter. $AWS_MAX_ATTEMPTS overrides.
ATTEMPTS = 8

THROTTLED = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
MISSING = {"NoSuchKey", "NoSuchBucket", "404", "ResourceNotFound", "ResourceNotFoundException", "NoSuchEntity"}
# SageMaker says so in words: "Requested resource not found.", "Could not find model ...".
MISSING_WORDS = re.compile(r"could not (?:be found|find)|not found", re.I)
DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "403",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
}

SECRETS = (
    (re.compile(r"\b(?:A[KS]IA|AIDA|AROA)[A-Z0-9]{12,}\b"), "(access key)"),
    (re.compile(r"(X-Amz-(?:Signature|Security-Token|Credential)=)[^&\s\"'>]+", re.I), r"\1(hidden)"),
    (re.compile(r"((?:Signature|Credential|Authorization|aws_secret_access_key|aws_session_token)\s*[=:]\s*)[^,&\s\"']+", re.I),
     r"\1(hidden)"),
    (re.compile(r"(\w+://)[^/\s@]+@"), r"\1(hidden)@"),
)  # fmt: skip
SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ACCESS_KEY_ID")


class ServiceError(ConfigError):
    """AWS refused a call, or could not be reached.

    Attributes:
        code: ``aws_missing``, ``aws_denied``, ``aws_throttled``, ``aws_unreachable``, ``no_credentials``,
            ``quota_exceeded``, else ``aws_refused``.
        service_code: AWS's own word, such as ``ValidationException``; empty where AWS did not answer.
    """

    code = "aws_refused"
    service_code = ""

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.code in ("aws_throttled", "aws_unreachable")


def load_boto3() -> Any:
    """Imports boto3.

    Raises:
        ConfigError: ``boto3_missing``.
    """
    try:
        import boto3
    except ModuleNotFoundError as error:
        raise ConfigError(
            "boto3 is not installed, and AWS is not reached without it",
            code="boto3_missing",
            hint="pip install 'fastinfer[sagemaker]'; with local places alone, instance_type='local' needs none",
        ) from error
    return boto3


def client_config() -> Any:
    """How clients retry; what the user's environment says about that comes first."""
    from botocore.config import Config

    retries: dict[str, Any] = {}
    if "AWS_RETRY_MODE" not in os.environ:
        retries["mode"] = "standard"
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = ATTEMPTS
    from .. import __version__

    return Config(retries=retries, user_agent_extra=f"fastinfer/{__version__}")


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Raises what boto3 raises inside as a :class:`ServiceError` that begins with `what` was being done."""
    try:
        import botocore.exceptions as raised

        # S3 transfers wrap what the client raised.
        from boto3.exceptions import Boto3Error
    except ModuleNotFoundError:
        # What is done without boto3 is done on this machine, and raises errors of its own.
        yield
        return
    try:
        yield
    except raised.ClientError as error:
        raise _refused(what, error) from None
    except (raised.NoCredentialsError, raised.PartialCredentialsError, raised.CredentialRetrievalError) as error:
        raise _service_error(what, str(error), "no_credentials", hint="aws configure, or $AWS_PROFILE") from None
    except (raised.HTTPClientError, raised.ConnectionError) as error:
        raise _service_error(what, str(error), "aws_unreachable") from None
    except (raised.BotoCoreError, Boto3Error) as error:
        if isinstance(error.__context__, raised.ClientError):
            raise _refused(what, error.__context__) from None
        raise _service_error(what, str(error), "aws_refused") from None


def scrub(text: str) -> str:
    """`text` without access keys, signatures, tokens and passwords."""
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= 8:
            text = text.replace(value, "(hidden)")
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


def _refused(what: str, error: Any) -> ServiceError:
    answer = error.response.get("Error", {})
    word, message = str(answer.get("Code", "")), str(answer.get("Message", "") or error)
    hint = None
    if word == "ResourceLimitExceeded":
        code, hint = (
            "quota_exceeded",
            "another instance type or count, or more from AWS: Service Quotas, Amazon SageMaker",
        )
    elif word in THROTTLED:
        code = "aws_throttled"
    elif word in MISSING or (word == "ValidationException" and MISSING_WORDS.search(message)):
        code = "aws_missing"
    elif word in DENIED:
        code, hint = "aws_denied", "the credentials, their role's policies, or the region"
    elif error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        code = "aws_unreachable"
    else:
        code = "aws_refused"
    told_as = _service_error(what, f"{word}: {message}" if word and word not in message else message, code, hint)
    told_as.service_code = word
    return told_as


def _service_error(what: str, message: str, code: str, hint: str | None = None) -> ServiceError:
    return ServiceError(scrub(f"{what}: {message}").rstrip("."), code=code, hint=hint)
