"""A transform job carried out on this machine: a CreateTransformJob request, its objects and its results.

A model's own code answers each request; objects of a model without code are transformed by the engine, all at once. The
objects that the engine leaves out, because one cannot be read or parsed, are answered one by one, so that each failure is
reported and the other objects get their results, as in Batch Transform.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

from ..errors import FastinferError, InputError
from ..storage.archive import unpack
from ..storage.base import Object
from ..storage.listing import examine_file
from ..storage.uri import join
from .code_archive import MODEL_ARCHIVE
from .s3 import check_key
from .session import Session

# Batch Transform's default for MaxPayloadInMB.
PAYLOAD_MB = 6

# (a request's body) -> the response's body
Answer = Callable[[bytes], bytes]


class Transform:
    """A transform job.

    Args:
        folder: the job's folder, for the model and copies of objects.
        request: the CreateTransformJob request, with the CreateModel request as ``Model``.
        session: the session that reads objects and writes results.
    """

    def __init__(self, folder: Path, request: dict[str, Any], session: Session) -> None:
        self.folder = folder
        self.session = session
        container = request["Model"]["PrimaryContainer"]
        self.model_uri = container["ModelDataUrl"]
        self.environment = {**container.get("Environment", {}), **(request.get("Environment") or {})}
        self.input = request["TransformInput"]
        self.output = request["TransformOutput"]
        self.content_type = self.input.get("ContentType") or "application/octet-stream"
        self.accept = self.output.get("Accept")
        self.single = request.get("BatchStrategy") == "SingleRecord"
        self.payload_bytes = request.get("MaxPayloadInMB", PAYLOAD_MB) << 20

    @property
    def splits(self) -> bool:
        """Whether an object's lines are its records; otherwise the whole object is one request."""
        return bool(self.input.get("SplitType", "None") == "Line")

    @property
    def assembles(self) -> bool:
        """Whether each response ends with a line end in the result."""
        return bool(self.output.get("AssembleWith", "None") == "Line")

    def run(self) -> None:
        """Transforms all objects.

        Raises:
            InputError: ``no_such_place`` where no objects are found; ``bad_input`` where objects failed, after the others.
            FastinferError: the model cannot be used, or a result not written.
        """
        model = self.folder / "ml" / "model"
        self.session.fetch(self.model_uri, self.folder / MODEL_ARCHIVE)
        unpack(self.folder / MODEL_ARCHIVE, model)
        # Before the model's code, and MXNet with it, is imported.
        os.environ.update(self.environment)
        uri = self.input["DataSource"]["S3DataSource"]["S3Uri"]
        objects = list(self.session.list_objects(uri))
        if not objects:
            raise InputError("no objects found", code="no_such_place", path=uri)

        answer = self._load_hooks(model)
        if answer is None:
            plain = self.content_type == "text/csv" and self.accept in (None, "application/json")
            if plain and not self.splits and not self.assembles:
                objects = self._run_engine(model, objects)
            if objects:
                answer = self._load_predictor(model)
        if answer is not None:
            self._answer_each(objects, answer)

    def _load_hooks(self, model: Path) -> Answer | None:
        """The model's own code; None where it has none, and then no graph is bound."""
        from ..handlers.hooks import make_handler
        from ..handlers.user_module import load_user_module

        module = load_user_module(model)
        if module is None or not module.hooks:
            return None
        handler = make_handler(model, module, exact=True)
        return lambda payload: handler.answer(payload, self.content_type, self.accept)[0]

    def _load_predictor(self, model: Path) -> Answer:
        """The answers of the container's defaults."""
        from ..handlers.hooks import load_handler

        handler = load_handler(model, program="", exact=True)
        return lambda payload: handler.answer(payload, self.content_type, self.accept)[0]

    def _answer_each(self, objects: Sequence[Object], answer: Answer) -> None:
        """Answers the requests of each object, in order; one that fails has no result, and the others are answered."""
        problems = []
        for item in objects:
            try:
                responses = []
                for lines_before, payload in self._payloads(item):
                    try:
                        responses.append(answer(payload))
                    except InputError as error:
                        if error.line is None:
                            raise
                        # A line of the object, not of the request.
                        raise error.at(line=error.line + lines_before) from error
                content = b"".join(each + b"\n" for each in responses) if self.assembles else b"".join(responses)
                self._put(item, content)
            except Exception as error:
                if isinstance(error, FastinferError) and not isinstance(error, InputError):
                    raise
                problems.append(f"{item.uri}: {_without_path(error)}")
                print(problems[-1], file=sys.stderr, flush=True)
        answered = len(objects) - len(problems)
        print(f"{answered:,} of {len(objects):,} objects answered one by one", flush=True)
        if problems:
            raise InputError(f"{len(problems)} objects failed; the first: {problems[0]}", code="bad_input")

    def _payloads(self, item: Object) -> Iterator[tuple[int, bytes]]:
        """The requests of an object, each with the number of lines before it."""
        if item.problem is not None:
            raise item.problem
        body = self.session.read(item.uri)
        if not self.splits:
            self._check_payload(len(body), item)
            yield 0, body
            return
        held: list[bytes] = []
        size = sent = 0
        for line in body.splitlines(keepends=True):
            self._check_payload(len(line), item)
            if held and (self.single or size + len(line) > self.payload_bytes):
                yield sent, b"".join(held)
                sent += len(held)
                held, size = [], 0
            held.append(line)
            size += len(line)
        if held:
            yield sent, b"".join(held)

    def _check_payload(self, size: int, item: Object) -> None:
        """Raises InputError where a request would be larger than the job allows; a limit of 0 allows every size."""
        if self.payload_bytes and size > self.payload_bytes:
            raise InputError(
                f"a request of {size:,} bytes is larger than MaxPayloadInMB allows ({self.payload_bytes:,} bytes)",
                code="payload_too_large",
                path=item.uri,
                hint="raise the limit, or split the input by lines",
            )

    def _run_engine(self, model: Path, objects: Sequence[Object]) -> list[Object]:
        """Transforms all objects at once; returns the ones without a result: the first that failed, and later ones."""
        from ..engine.run import transform
        from ..models.module import load_model
        from ..options import Options

        for item in objects:
            self._check_payload(item.size, item)
        output = self.folder / "out"
        try:
            summary = transform(
                load_model(model),
                [self._local_copy(item, number) for number, item in enumerate(objects)],
                str(output),
                Options(exact=True),
                source=self.input["DataSource"]["S3DataSource"]["S3Uri"],
            )
            print(f"{summary.records:,} records, {summary.records_per_second:,.0f} records/s", flush=True)
        except InputError as error:
            print(f"the engine stopped: {error}", file=sys.stderr, flush=True)
        left = []
        for item in objects:
            result = output / f"{item.key}.out"
            if result.exists():
                self._put(item, result)
            else:
                left.append(item)
        return left

    def _local_copy(self, item: Object, number: int) -> Object:
        """The same object as a local file; an object of S3 is fetched to the job's folder."""
        check_key(item)
        path = self.session.local_path(item.uri)
        if path is not None:
            return item._replace(uri=str(path))
        # By its number: of keys such as a and a/b both cannot be files of one folder.
        path = self.folder / "fetched" / str(number)
        self.session.fetch(item.uri, path)
        return examine_file(str(path), item.key)

    def _put(self, item: Object, content: bytes | Path) -> None:
        check_key(item)
        uri = join(self.output["S3OutputPath"], f"{item.key}.out")
        self.session.put(content, uri, kms_key=self.output.get("KmsKeyId"))


def _without_path(error: Exception) -> str:
    """An error's text after the object's URI: of its location only line and column are kept."""
    if isinstance(error, InputError):
        where = ":".join(str(part) for part in (error.line, error.column) if part is not None)
        return f"{where}: {error.message}" if where else error.message
    return f"{type(error).__name__}: {error}"
