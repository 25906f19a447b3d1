"""The Python API: a function that transforms files, and a Transformer as users of the SageMaker SDK know it.

>>> import fastinfer
>>> fastinfer.transform("in/", "out/", model="model.tar.gz")  # doctest: +SKIP
Summary(inputs=1000, ...)
>>> transformer = fastinfer.Transformer("model.tar.gz")  # doctest: +SKIP
>>> transformer.transform("in/", "out/")  # doctest: +SKIP
>>> transformer.wait()  # doctest: +SKIP
Summary(inputs=1000, ...)
>>> transformer.output_path  # doctest: +SKIP
'out/'
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypedDict

from .engine import run
from .engine.code_model import choose_served
from .engine.request import TransformRequest
from .engine.source import Listing, name_source
from .errors import ConfigError, without_frames
from .models.load import is_loaded
from .models.module import find_model
from .options import Options, path_of
from .records.compression import AUTO
from .storage.uri import from_here

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .engine.request import Column
    from .engine.summary import Summary
    from .models.load import AnyModel


class RequestKeywords(TypedDict, total=False):
    """The fields of :class:`fastinfer.engine.request.TransformRequest` as keywords; a test compares the two.

    So many attributes: the fields of the request, by their names.
    """

    data_type: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    content_type: str
    accept: str | None
    compression_type: str
    split_type: str
    strategy: str
    max_payload: int | None
    assemble_with: str
    input_filter: str
    output_filter: str
    join_source: str
    inclusive_slices: bool
    header: str
    id_column: Column
    label_column: Column
    env: Mapping[str, str]
    max_concurrent_transforms: int | None


class OptionKeywords(RequestKeywords, total=False):
    """The fields of :class:`fastinfer.Options` as keywords, for type checkers and editors; a test compares the two.

    So many attributes: the options of the command, by their names.
    """

    exact: bool
    batch_size: int | None
    workers: int | None
    device: str
    overwrite: bool
    comment: str | None
    missing: float | None
    skip_header: bool
    records: str
    backend: str
    address: str | None
    on_error: str
    max_errors: int | None
    memory_limit: int | None
    durable: bool
    cpu_isa: str | None
    runtime: str | None
    code: str | None
    table: str | os.PathLike[str] | None


def transform(
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] | AnyModel | None = None,
    **options: Unpack[OptionKeywords],
) -> Summary:
    """Runs a model over files and waits until all are done.

    Args:
        data: a folder, a file or a glob; with ``data_type="ManifestFile"`` a list of objects.
        output: folder of the results.
        model: as for :class:`Transformer`.
        options: the fields of :class:`fastinfer.Options` and of :class:`fastinfer.TransformRequest`.

    Returns:
        what was done.

    Raises:
        InputError, ModelError, OutputError, ConfigError, WorkerDied: what stopped the run.
        KeyboardInterrupt: after the workers have stopped; finished outputs are kept.
    """
    return Transformer(model, **options).transform(data, output).wait()


class Transformer:
    """Runs a model over files, in the background.

    Args:
        model: folder or tar archive, or what :func:`fastinfer.load_model` returns; None: ``$FASTINFER_MODEL``,
            ``$SM_MODEL_DIR``, else the MNIST model that comes with fastinfer.
        options: the fields of :class:`fastinfer.Options` and of :class:`fastinfer.TransformRequest`; without a compression
            type objects are expanded where their first bytes say that they are compressed.

    Raises:
        ModelError: the model cannot be used.
        ConfigError: an option is unknown or has a wrong value, or `model` is not a path.
    """

    def __init__(
        self, model: str | os.PathLike[str] | AnyModel | None = None, **options: Unpack[OptionKeywords]
    ) -> None:
        how, what = ([field.name for field in fields(kind)] for kind in (Options, TransformRequest))
        given: dict[str, Any] = {"compression_type": AUTO, **options}  # as the command; a job's own default is none
        for name in given:
            if name not in (*how, *what):
                raise ConfigError(f"unknown option {name!r}", hint=f"the options are {', '.join([*how, *what])}")
        self.options = Options(**{name: value for name, value in given.items() if name in how})
        self.request = TransformRequest(**{name: value for name, value in given.items() if name in what})
        self.model = choose_served(model if is_loaded(model) else find_model(model)[0], self.options)
        self._output_path: str | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._summary: Summary | None = None
        self._error: BaseException | None = None

    @property
    def output_path(self) -> str | None:
        """Folder of the last transform's results; None before the first."""
        return self._output_path

    def transform(self, data: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Transformer:
        """Starts a run and returns at once. :meth:`wait` waits for its end and raises its error.

        Args:
            data: a folder, a file or a glob; with ``data_type="ManifestFile"`` a list of objects.
            output: folder of the results; None: a new one in the working folder, named by the time. Relative paths mean the
                working folder of this call.

        Returns:
            itself, for ``transform(…).wait()``.

        Raises:
            ConfigError: ``busy`` if the previous run has not ended; ``bad_option`` if `data` or `output` is not a path.
        """
        source = path_of(data, "data")
        output = time.strftime("fastinfer-%Y-%m-%d-%H-%M-%S") if output is None else path_of(output, "output")
        if self._thread is not None and self._thread.is_alive():
            raise ConfigError("a transform is running", code="busy", hint="wait() first, or use a second Transformer")
        self._output_path = output
        # The caller may change the working folder while it runs.
        places = from_here(source), from_here(output)
        options = self.options
        if options.table is not None:
            options = replace(options, table=from_here(os.fspath(options.table)))
        self._stop.clear()
        self._summary = self._error = None
        self._thread = threading.Thread(target=self._run, args=(*places, options), name="fastinfer")
        self._thread.start()
        return self

    def wait(self) -> Summary:
        """Waits for the end of the run.

        Returns:
            what was done.

        Raises:
            InputError, ModelError, OutputError, ConfigError, WorkerDied: what stopped the run.
            KeyboardInterrupt: after the workers have stopped; finished outputs are kept.
        """
        if self._thread is None:
            raise ConfigError("nothing was started", code="not_started", hint="call transform() first")
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self.stop()
            raise
        if self._error is not None:
            try:
                raise self._error
            finally:
                del self  # its traceback holds this frame
        assert self._summary is not None
        return self._summary

    def stop(self) -> None:
        """Stops the run early and waits for its end. Finished outputs are kept; the same call again continues."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, data: str, output: str, options: Options) -> None:
        try:
            os.environ.update(self.request.env)  # before the model's framework, or its code, is loaded
            self._summary = run.transform(
                self.model,
                Listing(data, self.request, output=output),
                output,
                options,
                source=name_source(data),
                stop=self._stop,
                request=self.request,
            )
        except BaseException as error:
            # wait() raises it in the caller's thread.
            self._error = without_frames(error)
