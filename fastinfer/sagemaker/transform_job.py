"""A transform job carried out on this machine: a CreateTransformJob request, its objects and its results."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import FastinferError, InputError
from ..storage.archive import unpack
from ..storage.atomic import make_folder
from ..storage.uri import join
from .code_archive import MODEL_ARCHIVE
from .session import Item, Session

# Batch Transform's own, where a request says nothing.
PAYLOAD_MB = 6


class Transform:
    """A transform job: each object of the input is answered by the model's code, or by the engine where it has none."""

    def __init__(self, folder: Path, request: dict[str, Any], session: Session) -> None:
        self.folder = folder
        self.request = request
        self.session = session
        container = request["Model"]["PrimaryContainer"]
        self.model_place = container["ModelDataUrl"]
        self.environment = {**container.get("Environment", {}), **(request.get("Environment") or {})}
        self.content_type = request["TransformInput"].get("ContentType") or "application/octet-stream"
        self.accept = request["TransformOutput"].get("Accept")
        self.splits = request["TransformInput"].get("SplitType", "None") == "Line"
        self.single = request.get("BatchStrategy") == "SingleRecord"
        self.assembles = request["TransformOutput"].get("AssembleWith", "None") == "Line"
        self.payload_bytes = request.get("MaxPayloadInMB", PAYLOAD_MB) << 20

    def run(self) -> None:
        model = self.folder / "ml" / "model"
        self.session.fetch(self.model_place, self.folder / MODEL_ARCHIVE)
        unpack(self.folder / MODEL_ARCHIVE, model)
        # Before the model's code, and MXNet with it, is imported.
        os.environ.update(self.environment)
        place = self.request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
        items = list(self.session.items(place))
        if not items:
            raise InputError("there is no object", code="no_such_place", path=place)

        from ..handlers.hooks import load_handler

        handler = load_handler(model)
        plain = self.content_type == "text/csv" and self.accept in (None, "application/json")
        if not handler.has_hooks and plain and not self.splits and not self.assembles:
            items = self._run_engine(model, items)
        problems = []
        one_by_one = len(items)
        for item in items:
            try:
                body = self.session.read(item.place)
                answers = []
                for lines_before, payload in self._payloads(item, body):
                    try:
                        answers.append(handler.answer(payload, self.content_type, self.accept)[0])
                    except InputError as error:
                        # The place is said in the object, not in the request.
                        if error.line is not None:
                            error.line += lines_before
                        raise
                # Replies are put one behind another, as they are or each on lines of its own.
                content = b"".join(answer + b"\n" for answer in answers) if self.assembles else b"".join(answers)
                self._put(item, content)
            except Exception as error:
                if isinstance(error, FastinferError) and not isinstance(error, InputError):
                    raise
                # As on AWS: no output for this object, and the others go on.
                problems.append(f"{item.place}: {_without_place(error)}")
                print(problems[-1], file=sys.stderr, flush=True)
        if one_by_one:
            print(f"{one_by_one - len(problems):,} of {one_by_one:,} objects answered one by one", flush=True)
        if problems:
            raise InputError(f"{len(problems)} objects failed; the first: {problems[0]}", code="bad_input")

    def _payloads(self, item: Item, body: bytes) -> Iterator[tuple[int, bytes]]:
        """What of an object goes into a request each, and how many lines lie before it."""
        if not self.splits:
            _check_payload(len(body), self.payload_bytes, item)
            yield 0, body
            return
        held: list[bytes] = []
        size = sent = 0
        for line in body.splitlines(keepends=True):
            _check_payload(len(line), self.payload_bytes, item)
            if held and (self.single or size + len(line) > self.payload_bytes):
                yield sent, b"".join(held)
                sent += len(held)
                held, size = [], 0
            held.append(line)
            size += len(line)
        if held:
            yield sent, b"".join(held)

    def _run_engine(self, model: Path, items: list[Item]) -> list[Item]:
        """Transforms all objects at once; returns those that are left, from the first that has an error on."""
        from ..engine.run import transform
        from ..models.module import load_model
        from ..options import Options

        source, output = self.folder / "in", self.folder / "out"
        for item in items:
            _check_payload(item.size, self.payload_bytes, item)
            target = source / f"{item.name}.csv"
            make_folder(target.parent)
            path = self.session.local_path(item.place)
            if path is None:
                self.session.fetch(item.place, target)
            else:
                # No copy: the engine reads what the link leads to.
                target.symlink_to(path.resolve())
        try:
            summary = transform(load_model(model), str(source), str(output), Options(exact=True))
            print(f"{summary.images:,} images, {summary.images_per_second:,.0f} images/s", flush=True)
        except InputError as error:
            print(f"the engine stopped: {error}", file=sys.stderr, flush=True)
        left = []
        for item in items:
            finished = output / f"{item.name}.csv.out"
            if finished.exists():
                self._put(item, finished)
            else:
                left.append(item)
        return left

    def _put(self, item: Item, content: bytes | Path) -> None:
        output = self.request["TransformOutput"]
        self.session.put(content, join(output["S3OutputPath"], f"{item.name}.out"), kms_key=output.get("KmsKeyId"))


def _check_payload(size: int, limit: int, item: Item) -> None:
    # 0 is no limit.
    if limit and size > limit:
        raise InputError(
            f"a request of {size:,} bytes is more than MaxPayloadInMB allows ({limit:,})",
            code="payload_too_large",
            path=item.place,
            hint="max_payload, or split_type='Line'",
        )


def _without_place(error: Exception) -> str:
    """An error in words; the object's own place is said before, so of its place line and column are left."""
    if isinstance(error, InputError):
        where = ":".join(str(part) for part in (error.line, error.column) if part is not None)
        return f"{where}: {error.message}" if where else error.message
    return f"{type(error).__name__}: {error}"
