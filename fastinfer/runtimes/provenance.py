"""What the bits of a prediction depend on, without the runtime's own part."""

from __future__ import annotations

import os
from typing import Any, Protocol

from .. import machine
from .._version import __version__
from ..options import CPU_ISA_VARIABLE, Options, parse_device


class HasDigest(Protocol):
    """A model that a digest tells from others."""

    @property
    def digest(self) -> str: ...


def of_model(model: HasDigest, options: Options) -> dict[str, Any]:
    """Model, processor and device; the batch size and the runtime's identity count as well."""
    return {
        "fastinfer": __version__,
        "model": model.digest,
        "device": parse_device(options.device)[0][0],
        "cpu": machine.cpu_name(),
        "cpu_features": machine.cpu_features(),
        "cpu_caches": machine.cache_sizes(),
        "cpu_isa": options.cpu_isa or os.environ.get(CPU_ISA_VARIABLE),
    }
