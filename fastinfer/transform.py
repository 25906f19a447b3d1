"""``python -m fastinfer.transform``, and the function :func:`fastinfer.transform`.

The function and this module have one name. Importing a submodule sets its name in the package, so an import of this one
would hide the function behind a module. When imported, the module therefore replaces itself by the function:
``import fastinfer.transform`` and ``fastinfer.transform(...)`` always give the same object.
"""

from __future__ import annotations

import sys
from typing import Any

if __name__ == "__main__":
    from .commands.transform import main

    sys.exit(main(prog="python -m fastinfer.transform"))
elif __name__ == "fastinfer.transform":
    # Not in a worker process, which runs the parent's main module under another name.
    from .transformer import transform

    modules: dict[str, Any] = sys.modules  # typed as modules only
    modules[__name__] = transform
