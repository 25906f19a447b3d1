"""The Python API: a Transformer as the SageMaker SDK's users know it, running on this machine.

>>> import fastinfer
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
from typing import TYPE_CHECKING, Any

from .engine.run import transform
from .engine.source import find_objects, name_source
from .errors import ConfigError
from .models.module import find_model, load_model
from .options import Options

if TYPE_CHECKING:
    from .engine.summary import Summary


class Transformer:
    """Runs a model over files.

    Args:
        model: folder or tar archive as SageMaker's training saved it; None: ``$FASTINFER_MODEL``, ``$SM_MODEL_DIR``, else the
            MNIST model that fastinfer ships.
        options: keywords of :class:`fastinfer.Options`: ``exact``, ``batch_size``, ``workers``, ``device``, …

    Raises:
        ModelError: the model cannot be used.
        ConfigError: an option cannot be.
    """

    def __init__(self, model: str | os.PathLike[str] | None = None, **options: Any) -> None:
        try:
            self.options = Options(**options)
        except TypeError as error:
            raise ConfigError(f"{error}", hint="see fastinfer.Options") from None
        self.model = load_model(find_model(model)[0])
        self._output_path: str | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._summary: Summary | None = None
        self._error: BaseException | None = None

    @property
    def output_path(self) -> str | None:
        """Folder of the last transform's results, None before the first."""
        return self._output_path

    def transform(self, data: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Transformer:
        """Starts transforming; returns at once. :meth:`wait` waits, and raises what went wrong.

        Args:
            data: a folder, a file or a glob of CSV files.
            output: folder of the results; None: a new one in the working folder, named by the time.

        Returns:
            itself, so that ``transform(…).wait()`` reads in one line.

        Raises:
            ConfigError: ``busy``: the one before is still running.
        """
        if self._thread is not None and self._thread.is_alive():
            raise ConfigError("a transform is running", code="busy", hint="wait() first, or use a second Transformer")
        self._output_path = os.fspath(output) if output is not None else time.strftime("fastinfer-%Y-%m-%d-%H-%M-%S")
        self._stop.clear()
        self._summary = self._error = None
        self._thread = threading.Thread(target=self._run, args=(os.fspath(data), self._output_path), name="fastinfer")
        self._thread.start()
        return self

    def wait(self) -> Summary:
        """Waits for the transform to end.

        Returns:
            what it did.

        Raises:
            InputError, ModelError, OutputError, ConfigError: what stopped it.
            KeyboardInterrupt: after the workers have left off; finished outputs stay.
        """
        if self._thread is None:
            raise ConfigError("nothing was started", code="not_started", hint="call transform() first")
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self.stop()
            raise
        if self._error is not None:
            raise self._error
        assert self._summary is not None
        return self._summary

    def stop(self) -> None:
        """Ends the transform early and waits for that; finished outputs stay, and the same call again goes on."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, data: str, output: str) -> None:
        try:
            self._summary = transform(
                self.model, find_objects(data), output, self.options, source=name_source(data), stop=self._stop
            )
        except BaseException as error:
            # Raised again in the thread that waits.
            self._error = error
