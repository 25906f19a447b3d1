"""CSV text to float32 rows and float32 rows to text, at the speed of memory: the public face of the C++ kernels.

>>> import numpy
>>> out = numpy.empty((2, 3), numpy.float32)
>>> parse_csv(b"1,2,3\\n0.5,.5,5e-1\\n", out)
2
>>> format_json(out)
b'[[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]]'

A cell means what Python's ``float()`` makes of it (without underscores, and of ASCII text only), rounded to double and
then to float32; a value is printed as ``json.dumps`` prints the double that the float32 widens to. What is accepted and
what is refused stands in docs/kernels.md. The instruction set is chosen at import, or by ``FASTINFER_ISA``.
"""

from __future__ import annotations

from .codecs.csv import *  # noqa: F403
from .codecs.csv import __all__ as __all__
