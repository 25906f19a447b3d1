"""MXNet as a runtime, through its C library: its Python package is not imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import machine
from ...errors import ConfigError
from ...models.module import Model
from ...options import CPU_ISA_VARIABLE
from ..base import AS_IT_IS, BoundOutput, DenseLayers, Executor
from .graph import MXNetExecutor, held_batch, outputs_of, value_bytes
from .libmxnet import blas, build, check_devices, is_started, load_libmxnet, version
from .resources import Resources
from .settings import BLAS_VARIABLE, INFERENCE_SETTINGS, SPEED_SETTINGS, can_divide, numeric_environment, pinned

if TYPE_CHECKING:
    from ...models.load import AnyModel


# More gain nothing, and on AVX-512 oneDNN gives other bits from 240 on, so that a request of one row would need a graph of 240.
MANY_ROWS = 144


class MXNetRuntime:
    """MXNet, started with the settings for inference, or as the caller's program has started it.

    Args:
        cpu_isa: the highest instruction set that oneDNN and OpenBLAS may use; None: the best of the CPU.

    Attributes:
        advice: a message to the user about what makes it slow here; None if nothing does.
        many_rows: see :class:`fastinfer.runtimes.base.Runtime`.
        divides: whether operators can be divided among threads: not where the user has set their number.

    Raises:
        ConfigError: ``mxnet_missing``, ``mxnet_broken``, or the instruction set can no longer be set.
    """

    many_rows = MANY_ROWS

    def __init__(self, cpu_isa: str | None = None) -> None:
        started, imported = is_started(), "mxnet" in sys.modules
        wanted = {} if cpu_isa is None else pinned(cpu_isa)
        settings = {**INFERENCE_SETTINGS, **({} if started else wanted)}
        unset = [f"{name}={settings[name]}" for name in SPEED_SETTINGS if imported and name not in os.environ]
        self.advice: str | None = None
        if unset:
            self.advice = (
                f"mxnet was imported before {' and '.join(unset)} could be set: the outputs are correct, but runs were "
                "measured to take up to 3 times as long; set them before the program starts, or run fastinfer before "
                "importing mxnet"
            )
        if cpu_isa is not None:
            found = os.environ.get(CPU_ISA_VARIABLE, None if started else cpu_isa)
            if found != cpu_isa:
                raise ConfigError(
                    f"the instruction set cannot be {cpu_isa}: MXNet was started with {found or 'what the CPU has'}",
                    hint=f"set {CPU_ISA_VARIABLE}={cpu_isa} before the program starts",
                )
        load_libmxnet(settings)
        code = wanted.get(BLAS_VARIABLE)
        if code is not None and blas() not in (None, code):
            raise ConfigError(
                f"the instruction set cannot be {cpu_isa}: OpenBLAS was started with code for {blas()}",
                hint=f"set {BLAS_VARIABLE}={code} before the program starts",
            )
        self.divides = can_divide()

    def identity(self) -> dict[str, Any]:
        return {
            "mxnet": version(),
            "libmxnet": build(),
            "blas": blas(),
            "c_library": machine.c_library(),
            "environment": numeric_environment(),
        }

    def value_bytes(self, model: AnyModel) -> list[int]:
        return value_bytes(_own(model))

    def held_batch(self, model: AnyModel) -> int:
        return held_batch(_own(model))

    def outputs_of(self, model: AnyModel, batch_size: int) -> tuple[BoundOutput, ...]:
        return outputs_of(_own(model), batch_size)

    def layers_alone(self, model: AnyModel) -> tuple[AnyModel | None, bool]:
        from .layers_alone import layers_alone  # late: most runs know what the probe has found

        return layers_alone(_own(model))

    def check_devices(self, devices: Sequence[tuple[str, int]]) -> None:
        check_devices(devices)

    def make_resources(self) -> Resources:
        return Resources()

    def bind(
        self,
        model: AnyModel,
        device: tuple[str, int],
        batch_size: int,
        *,
        row_wise: bool = False,
        dense: DenseLayers = AS_IT_IS,
        threads: int = 1,
        lenient: bool = False,
        resources: object = None,
    ) -> Executor:
        check_devices([device])
        assert resources is None or isinstance(resources, Resources)
        bind = partial(MXNetExecutor, _own(model), device, batch_size, row_wise=row_wise, dense=dense, lenient=lenient)
        if threads == 1:
            return bind(resources=resources)
        from .threaded import ThreadedExecutor  # late: a run has no use for it

        return ThreadedExecutor(lambda own: bind(resources=own), threads)


def _own(model: AnyModel) -> Model:
    if not isinstance(model, Model):
        raise ConfigError(f"{model.path} is a model in ONNX, which MXNet cannot run", code="other_format")
    return model
