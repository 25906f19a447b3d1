"""``python -m tests.fuzz.guided TARGET ARGUMENT ...``: one target by atheris, which ends the process. Arguments: libFuzzer's.

It is a module of its own because nothing of fastinfer may be imported before atheris watches imports: an extension module that
is imported a second time keeps the classes of errors of the first time.
"""

from __future__ import annotations

import shlex
import sys
import warnings

import atheris

with atheris.instrument_imports(include=["fastinfer"]):
    from tests.fuzz import targets

warnings.simplefilter("ignore")
# With -merge libFuzzer starts processes by what it is called.
called = shlex.join([sys.executable, "-m", "tests.fuzz.guided", sys.argv[1]])
atheris.Setup([called, *sys.argv[2:]], lambda content: targets.run(sys.argv[1], content))
atheris.Fuzz()
