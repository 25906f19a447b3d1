"""Build of the extension modules: the Cython doors, and the C++17 behind them.

Everything else about the package is in pyproject.toml. Three switches of the environment, each "1" to turn on:

FASTINFER_BUILD_DEBUG     -O0 -g
FASTINFER_BUILD_SANITIZE  AddressSanitizer and UndefinedBehaviorSanitizer (preload libasan when running)
FASTINFER_BUILD_COVERAGE  gcov counters in the kernels, line tracing in the Cython
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def switch(name: str) -> bool:
    return os.environ.get(f"FASTINFER_BUILD_{name}", "") not in ("", "0")


compile_args = ["-std=c++17", "-Wall", "-Wextra", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden"]
link_args: "list[str]" = []
macros: "list[tuple[str, str | None]]" = []
directives = {"language_level": 3, "boundscheck": False, "wraparound": False}

if switch("DEBUG"):
    compile_args += ["-O0", "-g"]
else:
    # No -march: the kernels choose their instruction set at run time, so one build serves every machine.
    compile_args += ["-O3", "-g0"]
if switch("SANITIZE"):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
    compile_args += [*flags, "-O1", "-g"]
    link_args += flags
if switch("COVERAGE"):
    compile_args += ["--coverage", "-O0"]
    link_args += ["--coverage"]
    macros += [("CYTHON_TRACE_NOGIL", "1")]
    directives["linetrace"] = True


def extension(name: str, sources: "list[str]") -> Extension:
    """A door of fastinfer/_native with the C++ behind it."""
    return Extension(
        f"fastinfer._native.{name}",
        sources=[f"fastinfer/_native/{name}.pyx", *sources],
        depends=sorted(str(path) for path in Path("csrc").glob("*.h")),
        include_dirs=["csrc"],
        language="c++",
        define_macros=macros,
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )


FILES, ROWS, JSON = "csrc/files.cpp", "csrc/cut_rows.cpp", "csrc/parse_json.cpp"
kernels = sorted({str(path) for path in Path("csrc").glob("*.cpp")} - {FILES, ROWS, JSON})
extensions = [
    extension("text", kernels),
    extension("files", [FILES]),
    extension("json", [JSON]),
    extension("rows", [ROWS]),
]
# Its vectors report that memory is out by an exception, which Cython turns into Python's.
extensions[-1].extra_compile_args = [each for each in compile_args if each != "-fno-exceptions"]

setup(ext_modules=cythonize(extensions, compiler_directives=directives, build_dir="build/cython"))
