"""The only module that imports boto3: late, with retries configured, its errors translated, secrets removed from them.

botocore's standard mode retries throttled calls and transient errors; the errors that remain are raised as
:class:`ServiceError`, whose ``code`` gives the kind.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from .._version import __version__
from ..errors import ConfigError, ServiceError
from ..extras import install_command

# Attempts per call: jobs take minutes to hours, so a few seconds of backing off are cheap. $AWS_MAX_ATTEMPTS overrides.
ATTEMPTS = 8

THROTTLED = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
MISSING = {
    "NoSuchKey",
    "NoSuchBucket",
    "NoSuchUpload",
    "404",
    "ResourceNotFound",
    "ResourceNotFoundException",
    "NoSuchEntity",
}
# SageMaker reports this in the message only: "Requested resource not found.", "Could not find model ...".
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
    # From the beginning of a word: tried from within it as well, a long one would take time with the square of its length.
    (re.compile(r"\b(\w+://)[^/\s@]+@"), r"\1(hidden)@"),
)  # fmt: skip
SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ACCESS_KEY_ID")


def load_boto3() -> Any:
    """Imports boto3.

    Raises:
        ConfigError: ``boto3_missing``.
    """
    try:
        import boto3
    except ModuleNotFoundError as error:
        raise ConfigError(
            "AWS access requires boto3, which is not installed",
            code="boto3_missing",
            hint=f"{install_command('sagemaker')}; instance_type='local' needs none for local paths",
        ) from error
    return boto3


def client_config() -> Any:
    """How clients retry; the user's own environment variables take precedence."""
    from botocore.config import Config

    retries: dict[str, Any] = {}
    if "AWS_RETRY_MODE" not in os.environ:
        retries["mode"] = "standard"
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = ATTEMPTS
    return Config(retries=retries, user_agent_extra=f"fastinfer/{__version__}")


@contextlib.contextmanager
def translating_errors(action: str) -> Iterator[None]:
    """Translates boto3's errors into :class:`ServiceError`.

    Args:
        action: what is being done, or with what; the error's message begins with it.
    """
    try:
        import botocore.exceptions as raised

        # S3 transfers wrap what the client raised.
        from boto3.exceptions import Boto3Error
    except ModuleNotFoundError:
        # Without boto3 only local calls are possible; they raise fastinfer's own errors.
        yield
        return
    try:
        yield
    except raised.ClientError as error:
        raise _refused(action, error) from None
    except (raised.NoCredentialsError, raised.PartialCredentialsError, raised.CredentialRetrievalError) as error:
        raise _service_error(
            action, str(error), "no_credentials", hint="run aws configure, or set $AWS_PROFILE"
        ) from None
    except (raised.HTTPClientError, raised.ConnectionError) as error:
        raise _service_error(action, str(error), "aws_unreachable") from None
    except (raised.BotoCoreError, Boto3Error) as error:
        if isinstance(error.__context__, raised.ClientError):
            raise _refused(action, error.__context__) from None
        raise _service_error(action, str(error), "aws_refused") from None


def scrub(text: str) -> str:
    """`text` without access keys, signatures, tokens and passwords."""
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= 8:
            text = text.replace(value, "(hidden)")
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


def _refused(action: str, error: Any) -> ServiceError:
    response = error.response.get("Error", {})
    word, message = str(response.get("Code", "")), str(response.get("Message", "") or error)
    hint = None
    if word == "ResourceLimitExceeded":
        code, hint = (
            "quota_exceeded",
            "use another instance type or count, or request an increase from AWS: Service Quotas, Amazon SageMaker",
        )
    elif word in THROTTLED:
        code = "aws_throttled"
    elif word in MISSING or (word == "ValidationException" and MISSING_WORDS.search(message)):
        code = "aws_missing"
    elif word in DENIED:
        code, hint = "aws_denied", "check the credentials, their role's policies, and the region"
    elif error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        code = "aws_unreachable"
    else:
        code = "aws_refused"
    translated = _service_error(action, f"{word}: {message}" if word and word not in message else message, code, hint)
    translated.service_code = word
    return translated


def _service_error(action: str, message: str, code: str, hint: str | None = None) -> ServiceError:
    # In one line: botocore's own checks have several.
    return ServiceError(scrub(f"{action}: {' '.join(message.split())}").rstrip("."), code=code, hint=hint)
