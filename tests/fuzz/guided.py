"""``python -m tests.fuzz.guided TARGET ARGUMENT ...``: one target by atheris, which ends the process. Arguments: libFuzzer's.

It is a module of its own because nothing of fastinfer may be imported before atheris watches imports: an extension module that
is imported a second time keeps the classes of errors of the first time.
"""

from __future__ import annotations

import random
import shlex
import sys
import warnings

import atheris

with atheris.instrument_imports(include=["fastinfer"]):
    from tests.fuzz import forms, targets

name = sys.argv[1]
kept = targets.corpus(name) + targets.found(name)


def change(content: bytes, most_bytes: int, seed: int) -> bytes:
    """libFuzzer's own change of bytes, or one within the input's form."""
    random_ = random.Random(seed)
    if random_.random() < 0.5:
        return bytes(atheris.Mutate(content, most_bytes))
    return forms.change(name, random_, content, kept)[:most_bytes]


warnings.simplefilter("ignore")
# With -merge libFuzzer starts processes by what it is called.
called = shlex.join([sys.executable, "-m", "tests.fuzz.guided", name])
atheris.Setup([called, *sys.argv[2:]], lambda content: targets.run(name, content), custom_mutator=change)
atheris.Fuzz()
