"""Requests to one bucket of S3, each carried out whole or not at all, tried again where a failure passes by itself.

obstore moves bytes: it takes about a twelfth of boto3's time for a small object. boto3 gives meaning: the connection, URLs that
are signed for listings, and what obstore cannot say or do: keys that are no paths (``a//b``, ``a/../b``, a trailing slash, a
control character), parts of uploads, conditions on a lease. obstore is used by its synchronous calls alone, since its
asyncio aborts the process when it ends, and never after a fork, where it hangs.
"""

from __future__ import annotations

import errno
import functools
import os
import xml.etree.ElementTree as xml
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Callable, NamedTuple, TypeVar

from ..errors import ConfigError, ServiceError
from . import retry
from .aws import translating_errors
from .crew import the_crew
from .retry import Patience
from .s3_connection import Connection
from .s3_errors import NEEDS, ConditionNotMet, of_answer, of_boto3, of_obstore
from .s3_headers import LABEL, condition, metadata, mode, plain, quoted
from .s3_listing import PAGE_KEYS, Listed, Page, entries_of, parse_page
from .uri import is_path

T = TypeVar("T")

# So long a listing's signed URL is valid; it is used at once.
SIGNED_S = 900
LEASE_BYTES = 1 << 16  # what is larger is no lease, and counts as an empty one

_was_forked = False


def _note_fork() -> None:
    global _was_forked
    _was_forked = bool(_buckets.cache_info().currsize)


os.register_at_fork(after_in_child=_note_fork)


class Lease(NamedTuple):
    """A lease as it is kept: its version, its text, and how old it is by the server's clock."""

    version: str
    text: bytes
    age_s: float


class Part(NamedTuple):
    """A part of an upload that the server has."""

    number: int
    version: str


class Bucket:
    """Requests to one bucket. May be used by several threads at a time; use :func:`open_bucket`.

    Every request raises OSError with the errno ENOENT, EACCES or ESTALE for one object, ConditionNotMet, or ServiceError.

    Args:
        name: of the bucket.
        session: a ``boto3.Session``; None: botocore's chain.
        patience: how long to wait.
    """

    def __init__(self, name: str, session: Any = None, patience: Patience | None = None) -> None:
        self.name = name
        self._connection = Connection(name, session, patience or Patience())
        self._lacking: set[bool] = set()  # of the conditions "of this version" and "where there is none"

    @property
    def patience(self) -> Patience:
        return self._connection.patience

    @property
    def client(self) -> Any:
        """boto3's client, for requests that move hardly any bytes."""
        return self._connection.client

    @property
    def large_client(self) -> Any:
        """The same, for requests that move many bytes, or are much work for the server."""
        return self._connection.large_client

    # Bytes

    def get(self, key: str, version: bytes = b"", start: int = 0, stop: int | None = None, size: int = 0) -> Any:
        """The bytes of an object, or of a part of it, as a buffer.

        Args:
            key: the object.
            version: the version that it must have; empty: any.
            start, stop: the part; None: all.
            size: about how many bytes there will be, for the time limit.
        """
        options: dict[str, Any] = {}
        if version:
            options["if_match"] = quoted(version)
        if stop is not None:
            options["range"] = (start, stop)
        connection = self._connection
        try:
            if is_path(key):
                store = connection.stores[size > connection.patience.small_bytes]
                return self._call("reading", key, _get, store, key, options)
            return self._call("reading", key, self._get_by_boto3, key, options)
        except ConditionNotMet as error:
            raise OSError(errno.ESTALE, "it changed after it was listed") from error

    def _get_by_boto3(self, key: str, options: Mapping[str, Any]) -> Any:
        arguments = {}
        if "if_match" in options:
            arguments["IfMatch"] = options["if_match"]
        if "range" in options:
            start, stop = options["range"]
            arguments["Range"] = f"bytes={start}-{stop - 1}"
        return self.large_client.get_object(Bucket=self.name, Key=key, **arguments)["Body"].read()

    def get_small(self, key: str, most_bytes: int) -> Any:
        """The bytes of an object that has at most so many; OSError with the errno EFBIG if it has more."""
        entry = self.find(key)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such object")
        if entry.size > most_bytes:
            raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
        return self.get(key, entry.version, size=entry.size)

    def put(self, key: str, content: bytes, label: bytes | None = None, *, replaced: bytes | None = None) -> bytes:
        """Writes a whole object; returns its version.

        Args:
            key: the object.
            content: its bytes.
            label: what is kept with it.
            replaced: the version in whose place it is written, empty: where there is none, or ConditionNotMet is raised;
                None: in the place of any.
        """
        store = self._connection.stores[len(content) > self.patience.small_bytes] if is_path(key) else None
        return self._on_condition(
            replaced, lambda version: self._call("writing", key, self._put, store, key, content, label, version)
        )

    def _on_condition(self, replaced: bytes | None, write: Callable[[bytes | None], T]) -> T:
        """Writes where there is this version, or where there is none; in the place of any if the server has no conditions."""
        if replaced is None or bool(replaced) in self._lacking:
            return write(None)
        try:
            return write(replaced)
        except FileNotFoundError as error:
            raise ConditionNotMet("it has gone") from error
        except ServiceError as error:
            if error.service_code != "NotImplemented":
                raise
        self._lacking.add(bool(replaced))
        return write(None)

    def _put(self, store: Any, key: str, content: bytes, label: bytes | None, replaced: bytes | None) -> bytes:
        if store is None:
            arguments = {"Body": content, "Metadata": metadata(label), **condition(replaced)}
            return plain(self.large_client.put_object(Bucket=self.name, Key=key, **arguments)["ETag"])
        import obstore

        attributes: Any = None if label is None else {LABEL: label.hex()}
        answer = obstore.put(store, key, content, attributes=attributes, mode=mode(replaced), use_multipart=False)
        return plain(answer["e_tag"])

    def upload(self, key: str, source: Path | bytes, encryption: Mapping[str, str]) -> None:
        """Writes a whole object from a file, in parts where it is large, or from memory; boto3's names say the encryption."""

        def request() -> None:
            if isinstance(source, bytes):
                self.large_client.put_object(Bucket=self.name, Key=key, Body=source, **encryption)
            else:
                self.large_client.upload_file(str(source), self.name, key, ExtraArgs=dict(encryption) or None)

        self._call("writing", key, request)

    def look(self, key: str) -> tuple[bytes, bytes | None] | None:
        """The version of an object and its label, None if it has none; None if there is no such object."""
        try:
            version, text = self._call("looking up", key, self._look, key)
        except FileNotFoundError:
            return None
        try:
            return version, None if text is None else bytes.fromhex(text)
        except ValueError:  # somebody else's
            return version, None

    def _look(self, key: str) -> tuple[bytes, str | None]:
        if not is_path(key):
            answer = self.client.head_object(Bucket=self.name, Key=key)
            return plain(answer["ETag"]), answer["Metadata"].get(LABEL)
        import obstore

        found = obstore.get(self._connection.stores[False], key, options={"head": True})
        return plain(found.meta["e_tag"]), found.attributes.get(LABEL)

    def label(self, key: str) -> bytes | None:
        """The label of an object; None if there is none, or no such object."""
        found = self.look(key)
        return None if found is None else found[1]

    def delete(self, key: str) -> None:
        """Removes an object that need not exist."""
        self._call("removing", key, lambda: self.client.delete_object(Bucket=self.name, Key=key))

    # Names

    def entries(self, prefix: str, *, folder: bool = False, page_keys: int = PAGE_KEYS) -> Iterator[Listed]:
        """All objects whose key begins with a prefix, in the order of their keys' bytes.

        Args:
            prefix: any beginning of a key.
            folder: whether keys with a further slash are listed only as their common prefixes.
            page_keys: how many are asked for at a time.
        """
        arguments = {"Bucket": self.name, "Prefix": prefix, "EncodingType": "url", "MaxKeys": page_keys}
        if folder:
            arguments["Delimiter"] = "/"

        def ask(token: str | None) -> Page:
            more = {} if token is None else {"ContinuationToken": token}
            return self._call("listing", prefix, functools.partial(self._page, {**arguments, **more}, prefix))

        return entries_of(ask)

    def _page(self, arguments: Mapping[str, Any], prefix: str) -> Page:
        from botocore.awsrequest import AWSRequest

        url = self.client.generate_presigned_url("list_objects_v2", Params=dict(arguments), ExpiresIn=SIGNED_S)
        answer = self._connection.http.send(AWSRequest("GET", url).prepare())
        if answer.status_code != 200:
            raise of_answer(f"listing s3://{self.name}/{prefix}", answer.status_code, answer.text)
        return parse_page(answer.content)

    def find(self, key: str) -> Listed | None:
        """One object as a listing has it; None if there is none."""
        first = next(self.entries(key, page_keys=1), None)
        return first if first is not None and first.key == key else None

    # Uploads

    def begin_upload(self, key: str, label: bytes | None) -> str:
        """Begins an upload in parts; returns its id."""
        answer = self._call_boto3("uploading", key, "create_multipart_upload", Metadata=metadata(label))
        return str(answer["UploadId"])

    def put_part(self, key: str, upload: str, number: int, content: bytes) -> Part:
        """Uploads a part; all but the last have at least 5 MiB."""
        part = {"UploadId": upload, "PartNumber": number}
        answer = self._call_boto3("uploading", key, "upload_part", is_large=True, Body=content, **part)
        return Part(number, str(answer["ETag"]))

    def complete_upload(self, key: str, upload: str, parts: list[Part], *, replaced: bytes | None = None) -> bytes:
        """Gives an upload its name, as :meth:`put`; returns its version."""
        listed = {"Parts": [{"PartNumber": number, "ETag": version} for number, version in sorted(parts)]}

        def complete(version: bytes | None) -> bytes:
            whole = {"UploadId": upload, "MultipartUpload": listed, **condition(version)}
            answer = self._call_boto3("uploading", key, "complete_multipart_upload", is_large=True, **whole)
            return plain(answer["ETag"])

        return self._on_condition(replaced, complete)

    def abort_upload(self, key: str, upload: str) -> None:
        """Removes an unfinished upload, which need not exist."""
        try:
            self._call_boto3("aborting the upload of", key, "abort_multipart_upload", UploadId=upload)
        except FileNotFoundError:
            return

    def list_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """The unfinished uploads below a prefix: key and id."""

        def request() -> list[tuple[str, str]]:
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix)
            return [(str(each["Key"]), str(each["UploadId"])) for page in pages for each in page.get("Uploads", ())]

        yield from self._call("listing uploads", prefix, request)

    def relabel(self, key: str, label: bytes, version: bytes) -> None:
        """Replaces the label of an object of this version, by a copy that the server makes in its place."""
        source = {"Bucket": self.name, "Key": key}

        def request() -> None:
            # In parts where it is too large for a single copy.
            extra = {"Metadata": metadata(label), "MetadataDirective": "REPLACE", "CopySourceIfMatch": quoted(version)}
            self.large_client.copy(source, self.name, key, ExtraArgs=extra)

        self._call("labelling", key, request)

    # Leases

    def read_lease(self, key: str) -> Lease | None:
        """A lease; None if there is none."""

        def request() -> Lease:
            answer = self.client.get_object(Bucket=self.name, Key=key)
            age = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]) - answer["LastModified"]
            text = bytes(answer["Body"].read(None if answer["ContentLength"] <= LEASE_BYTES else 0))
            return Lease(str(answer["ETag"]), text, age.total_seconds())

        try:
            return self._call("locking", key, request)
        except FileNotFoundError:
            return None

    def write_lease(self, key: str, text: bytes, version: str | None) -> str | None:
        """Writes a lease in the place of one of this version, or (None) where there is none.

        Returns:
            its version; None if somebody else was first.
        """
        condition: dict[str, Any] = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        try:
            try:
                answer = self._call_boto3("locking", key, "put_object", Body=text, **condition)
            except ServiceError as error:
                if error.service_code != "NotImplemented":
                    raise
                answer = self._call_boto3("locking", key, "put_object", Body=text)
            return str(answer["ETag"])
        except (ConditionNotMet, FileNotFoundError):
            # It may be our own, whose reply was lost.
            lease = self.read_lease(key)
            return lease.version if lease is not None and lease.text == text else None

    # How it is done

    def _call_boto3(self, verb: str, key: str, method: str, *, is_large: bool = False, **arguments: Any) -> Any:
        client = self.large_client if is_large else self.client
        request = functools.partial(getattr(client, method), Bucket=self.name, Key=key, **arguments)
        return self._call(verb, key, request)

    def _call(self, verb: str, key: str, request: Callable[..., T], *arguments: Any) -> T:
        """Carries out a request, again where a failure may pass by itself."""
        if _was_forked:
            raise ConfigError(
                "this process was forked from one that had used S3",
                code="used_before_fork",
                hint="start processes by spawn or forkserver, or before the first use of S3",
            )
        if retry.is_late():
            raise ServiceError(f"{verb} s3://{self.name}/{key}: S3 is too slow", code="aws_unreachable")
        retry.before_attempt()
        try:
            return request(*arguments)
        except Exception as error:
            # What is only for a failure is made here: other threads would wait while each request that succeeds makes it.
            return self._call_again(verb, key, functools.partial(request, *arguments), error)

    def _call_again(self, verb: str, key: str, request: Callable[[], T], error: Exception) -> T:
        def translate(error: Exception) -> Exception:
            problem = self._translate(verb, key, error)
            if isinstance(problem, ServiceError) and problem.code == "aws_throttled":
                the_crew().give_way()
            return problem

        try:
            return retry.call_again(request, translate, self._connection.patience, error)
        except PermissionError as error:
            if verb not in NEEDS:
                raise
            raise ServiceError(
                f"{verb} s3://{self.name}/{key}: {error.strerror}", code="aws_denied", hint=f"allow {NEEDS[verb]}"
            ) from error

    def _translate(self, verb: str, key: str, error: Exception) -> Exception:
        action = f"{verb} s3://{self.name}/{key}"
        if isinstance(error, (ConditionNotMet, ServiceError, ConfigError)) or type(error) in (OSError, PermissionError):
            return error  # translated already
        if type(error).__module__.split(".")[0] == "obstore" or (
            isinstance(error, FileNotFoundError) and error.errno is None
        ):
            return of_obstore(action, error)
        if isinstance(error, xml.ParseError):
            return ServiceError(f"{action}: the answer was cut off", code="aws_unreachable")
        if isinstance(error, FileNotFoundError):
            return error
        try:
            with translating_errors(action):
                raise error
        except ServiceError as translated:
            return of_boto3(translated)
        except Exception as same:
            return same


def open_bucket(name: str, session: Any = None, patience: Patience | None = None) -> Bucket:
    """The requests to a bucket, which all threads of this process share.

    Raises:
        ConfigError: ``boto3_missing``; ``bad_place`` if the name is empty.
        ServiceError: ``aws_refused`` for an unknown profile, and others.
    """
    if not name:
        raise ConfigError("expected s3://bucket/key, found a URL that names no bucket", code="bad_place")
    surroundings = tuple(
        (variable, value) for variable, value in sorted(os.environ.items()) if variable.startswith("AWS_")
    )
    return _buckets(name, session, patience, surroundings)


@functools.lru_cache(maxsize=64)
def _buckets(name: str, session: Any, patience: Patience | None, _: object) -> Bucket:
    return Bucket(name, session, patience)


def _get(store: Any, key: str, options: Any) -> Any:
    import obstore

    return obstore.get(store, key, options=options).bytes()
