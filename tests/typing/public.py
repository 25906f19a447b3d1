"""What type checkers see of the public names. Checked by mypy and pyright (``make lint``, and a test), never run.

A line with ``type: ignore`` must be an error: both checkers report an ignore that is not needed.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from pathlib import Path

from typing_extensions import assert_type

import fastinfer

# The function, with its options as keywords.
summary = fastinfer.transform("in", Path("out"), model="model.tar.gz", exact=True, batch_size=None, device="gpu:0")
assert_type(summary, fastinfer.Summary)
assert_type(summary.inputs, int)
fastinfer.transform("in", "out", batchsize=3)  # type: ignore
fastinfer.transform("in", "out", exact="yes")  # type: ignore
fastinfer.transform("in")  # type: ignore

# The class.
transformer = fastinfer.Transformer("model.tar.gz", workers=2, on_error="quarantine", missing=0.0)
assert_type(transformer.transform("in"), fastinfer.Transformer)
assert_type(transformer.wait(), fastinfer.Summary)
assert_type(transformer.output_path, "str | None")
assert_type(transformer.options, fastinfer.Options)
fastinfer.Transformer(workers="two")  # type: ignore
fastinfer.Transformer(wrokers=2)  # type: ignore

# The options.
assert_type(fastinfer.Options().exact, bool)
assert_type(fastinfer.Options(memory_limit=1 << 30).memory_limit, "int | None")

# The errors.
try:
    fastinfer.transform("in", "out")
except fastinfer.InputError as error:
    assert_type(error.code, str)
    assert_type(error.path, "str | None")
    assert_type(error.line, "int | None")
    assert_type(error.found, "str | None")
    assert_type(error.exit_code, int)
    assert_type(error.at(path="elsewhere", line=None), fastinfer.InputError)
    error.at(line="one")  # type: ignore
except fastinfer.ServiceError as error:
    assert_type(error.service_code, str)
    assert_type(error.transient, bool)
assert_type(fastinfer.__version__, str)
