"""A transform job carried out on this machine: a CreateTransformJob request, its objects and its results.

The engine does what the request says, by the model's own code where it has some. An object that fails has no result; the others
get theirs, and the job fails in the end with the first reason, as in Batch Transform.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..engine.code_model import CodeModel, find_code_model
from ..engine.request import MANIFEST
from ..engine.run import transform
from ..engine.source import Listing, as_prefix, no_objects
from ..errors import InputError, counted
from ..handlers.user_module import find_program
from ..models.module import Model, load_model
from ..options import Options
from ..outputs.layout import OUTPUT_SUFFIX, OutputLayout
from ..storage.archive import unpack
from ..storage.base import Object
from ..storage.listing import examine_file
from ..storage.manifest import parse_manifest
from ..storage.selection import Selection
from ..storage.uri import from_here, join
from .code_archive import MODEL_ARCHIVE
from .job_file import WITHOUT_MEANING, read_request
from .s3 import check_key
from .session import Session


class Transform:
    """A transform job.

    Args:
        folder: the job's folder, for the model, copies of objects, and results until they are put in their place.
        request: the CreateTransformJob request, with the CreateModel request as ``Model``.
        session: the session that reads objects and writes results.

    Raises:
        ConfigError: the request asks for what is not supported.
    """

    def __init__(self, folder: Path, request: dict[str, Any], session: Session) -> None:
        self.folder = Path(from_here(str(folder)))
        self.session = session
        container = request["Model"]["PrimaryContainer"]
        self.model_uri = container["ModelDataUrl"]
        self.job = read_request(request, container.get("Environment"))
        # Absolute now: the model's code, which runs in this process, may change the working folder.
        self.output = self._from_here(self.job.output)
        self._kms_key = request["TransformOutput"].get("KmsKeyId")
        # A local job always has resources.
        self._unused = [name for name in WITHOUT_MEANING if request.get(name) and name != "TransformResources"]
        self._uris: dict[str, str] = {}  # of objects that were fetched, by key

    def run(self) -> None:
        """Transforms all objects.

        Raises:
            InputError: ``input_missing`` where no objects are found; ``bad_input`` where objects failed, after the others.
            FastinferError: the model cannot be used, or a result not written.
        """
        if self._unused:
            print(f"note: {', '.join(self._unused)}: without meaning on this machine", flush=True)
        # Before the model's code, and MXNet with it, is imported.
        os.environ.update(self.job.request.env)
        output = str(self.folder / "out")
        objects: Iterable[Object] = self._objects()
        summary = transform(
            self._model(),
            objects,
            output,
            Options(exact=True, on_error="continue", records="total"),
            source=self.job.source,
            request=self.job.request,
        )
        print(f"{counted(summary.records, 'record')}, {summary.records_per_second:,.0f} records/s", flush=True)
        self._put_results(Path(output))
        failed = list(self._failures(output))
        for failure in failed:
            print(failure, file=sys.stderr, flush=True)
        if failed:
            raise InputError(f"{counted(len(failed), 'object')} failed; the first: {failed[0]}", code="bad_input")

    def _model(self) -> Model | CodeModel:
        folder = self.folder / "ml" / "model"
        self.session.fetch(self.model_uri, self.folder / MODEL_ARCHIVE)
        unpack(self.folder / MODEL_ARCHIVE, folder)
        return load_model(folder) if find_program(folder) is None else find_code_model(folder)

    def _objects(self) -> Iterable[Object]:
        """The objects of the job; those of S3 are fetched when they are asked for."""
        source, request = self.job.source, self.job.request
        path = self.session.local_path(source)
        if request.data_type == MANIFEST:
            content = self.session.read(source)
            named: Iterable[Object] = [
                Object(entry.uri, entry.key, 0, b"") for entry in parse_manifest(content, self._from_here(source))
            ]
        elif path is not None:
            return Listing(as_prefix(self._from_here(source)), request)
        else:
            selection = Selection()
            named = [item for item in self.session.list_objects(source) if selection.select_matched(item.key)]
            if not named:
                raise no_objects(source, selection.passed_over)
        return self._copies(named)

    def _from_here(self, uri: str) -> str:
        """The absolute path that a URI names; a URI of S3 as it is."""
        path = self.session.local_path(uri)
        return uri if path is None else from_here(str(path))

    def _copies(self, named: Iterable[Object]) -> Iterator[Object]:
        """The same objects as local files."""
        for number, item in enumerate(named):
            check_key(item)
            path = self.session.local_path(item.uri)
            if path is None:
                # By its number: of keys such as a and a/b both cannot be files of one folder.
                path = self.folder / "fetched" / str(number)
                self.session.fetch(item.uri, path)
                self._uris[item.key] = item.uri
            yield examine_file(str(path), item.key)

    def _put_results(self, output: Path) -> None:
        for path in sorted(output.rglob(f"*{OUTPUT_SUFFIX}")):
            uri = join(self.output, path.relative_to(output).as_posix())
            self.session.put(path, uri, kms_key=self._kms_key)

    def _failures(self, output: str) -> Iterator[str]:
        """The objects that failed, each with its place and reason."""
        rejects = Path(OutputLayout(output).rejects)
        if not rejects.exists():
            return
        with open(rejects, encoding="utf-8") as lines:
            for line in lines:
                reject = json.loads(line)
                place = [self._uris.get(reject["key"], reject["path"]), reject["line"], reject["column"]]
                yield f"{':'.join(str(part) for part in place if part is not None)}: {reject['message']}"
