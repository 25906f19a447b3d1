"""The output of a large input, put together from those of its parts while later parts are still worked on."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from typing import BinaryIO

from ..codecs.csv import empty_input
from ..errors import InputError
from ..storage.atomic import sync_folder, unwritable
from ..storage.local import Part, check_unchanged
from .folder import OutputFolder

COPY_BYTES = 1 << 20


class Assembly:
    """The output of one large input on its way. The parts' own files stay until it has its name, for a run to go on from.

    Args:
        folder: the run's outputs.
        parts: all parts of the input, in order.
    """

    def __init__(self, folder: OutputFolder, parts: Sequence[Part]) -> None:
        self._folder = folder
        self._parts = parts
        self._done: set[Part] = set()
        self._joined = 0  # parts that are in the file
        self._temporary = folder.assembly_path(parts[0].file)
        self._target: BinaryIO | None = None
        self._separator = b"["

    def add(self, part: Part) -> bool:
        """Takes a part that is finished; whether the output is whole with it, and has its name.

        Raises:
            InputError: ``input_changed`` since it was listed, or ``empty_input``.
            OutputError: it cannot be written.
        """
        self._done.add(part)
        item = part.file
        try:
            while self._joined < len(self._parts) and self._parts[self._joined] in self._done:
                self._join(self._parts[self._joined])
                self._joined += 1
            if self._joined < len(self._parts):
                return False
            check_unchanged(item)
            if self._separator == b"[":
                raise empty_input(item.path)
            self._finish()
        except OSError as error:
            self.drop()
            raise unwritable(self._folder.path(item), error) from error
        except InputError:
            self.drop()
            raise
        return True

    def drop(self) -> None:
        """Leaves off: the parts stay, nothing else does."""
        if self._target is not None:
            with contextlib.suppress(OSError):
                self._target.close()
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._target = None
        self._joined, self._separator = 0, b"["  # a part that is added later begins anew

    def _join(self, part: Part) -> None:
        if self._target is None:
            self._target = open(self._temporary, "wb")  # noqa: SIM115  (closed when the last part is in)
        with open(self._folder.part_path(part), "rb") as source:
            if os.fstat(source.fileno()).st_size:
                self._target.write(self._separator)
                shutil.copyfileobj(source, self._target, COPY_BYTES)
                self._separator = b", "

    def _finish(self) -> None:
        target, item = self._target, self._parts[0].file
        assert target is not None
        path = self._folder.path(item)
        target.write(b"]")
        target.flush()
        if self._folder.durable:
            os.fsync(target.fileno())
        target.close()
        os.utime(self._temporary, ns=(item.modified_ns, item.modified_ns))
        # Through the module, so that a test can stop the process exactly here.
        os.replace(self._temporary, path)
        self._target = None
        if self._folder.durable:
            sync_folder(os.path.dirname(path))
        for part in self._parts:
            with contextlib.suppress(OSError):
                os.unlink(self._folder.part_path(part))
