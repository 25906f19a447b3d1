"""What the tests of several runtimes share."""

from __future__ import annotations

import pytest

from fastinfer.runtimes.onnx import OnnxRuntime


@pytest.fixture(scope="module")
def runtime() -> OnnxRuntime:
    return OnnxRuntime()
