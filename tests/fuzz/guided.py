"""``python -m tests.fuzz.guided TARGET ARGUMENT ...``: one target by atheris, which ends the process. Arguments: libFuzzer's.

It is a module of its own because nothing of fastinfer may be imported before atheris watches imports: an extension module that
is imported a second time keeps the classes of errors of the first time.
"""

from __future__ import annotations

import sys
import warnings

import atheris

with atheris.instrument_imports(include=["fastinfer"]):
    from tests.fuzz import targets

warnings.simplefilter("ignore")
atheris.Setup([sys.argv[0], *sys.argv[2:]], lambda content: targets.run(sys.argv[1], content))
atheris.Fuzz()
