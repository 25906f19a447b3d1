"""The library of faults, and the process that carries out runs with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import skip
from tests.faults.harness import Server, compile_library, find_compiler, save_models


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = find_compiler()
    if compiler is None:
        skip("no C compiler: neither gcc nor cc nor clang")
    return compile_library(compiler, tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def carrier(library: Path, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    carrier = Server(library, models[0], tmp_path_factory.mktemp("carrier"))
    yield carrier
    carrier.close()
