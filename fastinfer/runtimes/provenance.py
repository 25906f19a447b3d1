"""What the bits of a prediction depend on, without the runtime's own part."""

from __future__ import annotations

import os
from typing import Any, Protocol

from .. import machine
from .._version import __version__
from ..options import CPU_ISA_VARIABLE, Options, parse_device


class HasIdentity(Protocol):
    """A model."""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from others, by its parts."""
        ...


def of_model(model: HasIdentity, options: Options) -> dict[str, Any]:
    """Model, processor and device; the batch size and the runtime's identity count as well."""
    return {
        "fastinfer": __version__,
        **model.identity,
        "device": parse_device(options.device)[0][0],
        "cpu": machine.cpu_name(),
        "cpu_features": machine.cpu_features(),
        "cpu_caches": machine.cache_sizes(),
        "cpu_isa": options.cpu_isa or os.environ.get(CPU_ISA_VARIABLE),
    }
