"""What a request to S3 failed for: facts about an object as OSError, everything else as ServiceError, in one line.

obstore says in a text what the server answered, of which its older releases, the last for Python 3.9 among them, leave out the
body where the status is 5xx; boto3's errors come translated by :mod:`fastinfer.storage.aws`.
"""

from __future__ import annotations

import errno
import re

from ..errors import ServiceError
from .aws import DENIED, THROTTLED, scrub

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")

# The query of a signed URL, from the last question mark before the word: from each of many, each search would go to the end.
_QUERY = re.compile(r"\?[^\s\"'?]*X-Amz-[^\s\"']*")

# A wrong or missing permission for one object, not a wrong account.
NOT_ALLOWED = {"AccessDenied", "AllAccessDisabled", "403", ""}
# The object changed, or already exists: a condition of the request was not met.
CONDITION = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
TRANSIENT = THROTTLED | {"RequestTimeout", "InternalError", "ServiceUnavailable", "503 Slow Down"}
# What a server cannot do it cannot do the next time either.
NOT_IMPLEMENTED = 501
# What an answer without S3's own word is taken for, by its status; every answer to HEAD is one, too.
UNSAID = {NOT_IMPLEMENTED: "NotImplemented", 503: "SlowDown"}
OTHER_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}

HINTS = {
    "NoSuchBucket": "check the bucket's name, and the endpoint",
    "AccessDenied": "the credentials are valid, but their policies, or the bucket's, do not allow it",
    "SignatureDoesNotMatch": "check the secret access key",
    "InvalidAccessKeyId": "check the access key, and the endpoint",
    "ExpiredToken": "get new credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
}
# What must be allowed for requests about a place: where one is refused, that is no fact about one object.
NEEDS = {"listing": "s3:ListBucket", "locking": "s3:ListBucket, s3:GetObject and s3:PutObject"}
ARCHIVED = "InvalidObjectState"
# What object_store names in the details of an error without an answer.
KINDS = {"Timeout": "no answer in time", "Connect": "no connection"}
REGION_HINT = "the bucket is in another region: set $AWS_DEFAULT_REGION"


class ConditionNotMet(Exception):
    """The object is not, or is no longer, as the request requires it."""


def of_answer(action: str, status: int, body: str) -> Exception:
    """The error for an answer of S3.

    Args:
        action: what was being done, with the URI.
        status: of the answer; 0: there was none.
        body: of the answer, or what the client says.
    """
    code_match, message_match = _CODE.search(body), _MESSAGE.search(body)
    word = code_match[1] if code_match else ""
    reason = message_match[1].strip().rstrip(".") if message_match else ""
    text = ": ".join(filter(None, [word, reason])) or (f"HTTP status {status}" if status else _first_line(body))
    if status == 404 and word != "NoSuchBucket":
        return OSError(errno.ENOENT, "there is no such object")
    if status == 412 or word in CONDITION:
        return ConditionNotMet(text)
    if status == 416:
        return OSError(errno.ESTALE, "it is shorter than when it was listed")
    if status == 403 and word in NOT_ALLOWED:
        return OSError(errno.EACCES, f"{text}; {HINTS['AccessDenied']}")
    if word == ARCHIVED:
        return _archived()
    return service_error(action, text, word or UNSAID.get(status, ""), status)


def service_error(action: str, text: str, word: str, status: int) -> ServiceError:
    """A ServiceError with the code and the hint for S3's own word."""
    if word in THROTTLED or status == 429:
        code = "aws_throttled"
    elif word in TRANSIENT or (status >= 500 and status != NOT_IMPLEMENTED) or status == 0:
        code = "aws_unreachable"
    elif word == "NoSuchBucket":
        code = "aws_missing"
    elif word in DENIED or status in (401, 403):
        code = "aws_denied"
    else:
        code = "aws_refused"
    hint = REGION_HINT if word in OTHER_REGION or status == 301 else HINTS.get(word)
    error = ServiceError(scrub(f"{action}: {text}"), code=code, hint=hint)
    error.service_code = word
    return error


def of_obstore(action: str, error: Exception) -> Exception:
    """The error for one that obstore raised."""
    text, _, details = str(error).partition("\n\nDebug source")
    status_match = _STATUS.search(text)
    if status_match:
        return of_answer(action, int(status_match[1]), text)
    if isinstance(error, FileNotFoundError):
        return OSError(errno.ENOENT, "there is no such object")
    if type(error).__name__ == "UnauthenticatedError":
        return ServiceError(scrub(f"{action}: {_first_line(text)}"), code="no_credentials")
    kind = next((words for kind, words in KINDS.items() if f"kind: {kind}" in details), "the answer was cut off")
    return service_error(action, f"{kind} ({_first_line(text.rpartition(': ')[2])})", "", 0)


def of_boto3(error: ServiceError) -> Exception:
    """The error for one of boto3's, translated."""
    word = error.service_code
    if error.code == "aws_missing" and word != "NoSuchBucket":
        return OSError(errno.ENOENT, "there is no such object")
    if word in CONDITION:
        return ConditionNotMet(error.message)
    if word in ("AccessDenied", "403"):
        return OSError(errno.EACCES, f"{word}; {HINTS['AccessDenied']}")
    if word == ARCHIVED:
        return _archived()
    short = error.at(hint=error.hint or HINTS.get(word))
    short.message = _QUERY.sub("", error.message)
    return short


def _archived() -> OSError:
    return OSError(errno.EACCES, "its storage class is an archive's; restore it first")


def _first_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:200] + "…"
