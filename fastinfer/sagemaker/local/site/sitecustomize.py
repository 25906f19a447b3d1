"""Python imports this when it starts with this folder on its path, as the script of a local training job does.

It has ``import mxnet`` work in the script, and in the processes that the script starts, on Pythons and NumPys that are newer
than MXNet. A sitecustomize that this one hides is imported afterwards.
"""

import contextlib
import importlib
import os
import sys

with contextlib.suppress(ImportError):  # in an interpreter without fastinfer, which the script has started
    from fastinfer.runtimes.mxnet import compat

    compat.install()

_here = os.path.dirname(os.path.realpath(__file__))
_own, _path = sys.modules.pop(__name__), list(sys.path)
sys.path[:] = [folder for folder in _path if os.path.realpath(folder) != _here]
try:
    importlib.import_module(__name__)
except ModuleNotFoundError as _error:
    if _error.name != __name__:
        raise
finally:
    sys.path[:] = _path
    sys.modules.setdefault(__name__, _own)
