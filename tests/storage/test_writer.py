"""Names of those who write."""

from __future__ import annotations

import os
import threading

from fastinfer.storage.writer import writer_name


def test_each_writer_has_a_name_of_its_own() -> None:
    names = [writer_name()]
    thread = threading.Thread(target=lambda: names.append(writer_name()))
    thread.start()
    thread.join()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, writer_name().encode())
        os._exit(0)
    os.waitpid(child, 0)
    names.append(os.read(read, 100).decode())
    # The process's number could come again; what follows it does not.
    assert len({name.split("-", 1)[1] for name in names}) == 3
