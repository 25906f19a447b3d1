"""``fastinfer doctor``: what this machine and this installation provide.

Text on stdout, or one JSON object with ``--json``. The exit code is 0 if models can be run, 2 if mxnet cannot be imported
or a forced instruction set is missing; the report is printed in every case.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from .. import machine
from ..errors import ConfigError, FastinferError
from ..extras import EXTRAS, install_command
from ..runtimes.mxnet.libmxnet import blas, count_gpus, features, load_libmxnet
from ..runtimes.mxnet.settings import INFERENCE_SETTINGS
from ._run import run_command

PACKAGES = ("fastinfer", "mxnet", "numpy", "joblib", "tqdm", *(extra.package for extra in EXTRAS.values()))


def diagnose() -> dict[str, Any]:
    """The report as a dictionary: isa, isas, python, platform, cpu, cores, memory_bytes, versions, missing, mxnet.

    `missing` lists what is not installed, with the feature that needs it and the command that installs it. `mxnet` holds
    `features` (names of what its build has on), `blas` (the CPU that OpenBLAS has code for), `gpus` (a count), or `error`.
    """
    report: dict[str, Any] = {
        "isa": None,
        "isas": [],
        "FASTINFER_ISA": os.environ.get("FASTINFER_ISA"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "memory_bytes": machine.memory_bytes(),
        "versions": {name: _version(name) for name in PACKAGES},
        "missing": _missing(),
        "mxnet": {},
    }
    try:
        # Here and not above, so that a wrong FASTINFER_ISA is a line of the report and not its end.
        from .. import kernels

        report["isa"] = kernels.active_isa()
        report["isas"] = kernels.available_isas()
    except ConfigError as error:
        report["isa_error"] = str(error)
    try:
        load_libmxnet(INFERENCE_SETTINGS)
    except FastinferError as error:
        report["mxnet"]["error"] = str(error)
        return report
    report["mxnet"]["features"] = sorted(name for name, enabled in features().items() if enabled)
    report["mxnet"]["blas"] = blas()
    report["mxnet"]["gpus"] = count_gpus()
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_doctor, argv)


def make_parser(prog: str = "fastinfer doctor") -> argparse.ArgumentParser:
    """The command's options; `prog` is what its usage line calls it."""
    parser = argparse.ArgumentParser(prog=prog, description="Show what this machine and this installation provide.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser


def _doctor(argv: Sequence[str] | None) -> int:
    as_json = make_parser().parse_args(argv).json
    report = diagnose()
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in _lines(report):
            print(f"{name:<14} {value}")
    return 2 if "error" in report["mxnet"] or "isa_error" in report else 0


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    forced = " (by FASTINFER_ISA)" if report["FASTINFER_ISA"] else ""
    memory = report["memory_bytes"]
    mxnet = report["mxnet"]
    return [
        ("kernels", report.get("isa_error") or f"{report['isa']}{forced}, of {', '.join(report['isas'])}"),
        ("cpu", f"{report['cpu']}, {report['cores']} cores"),
        ("memory", f"{memory / 2**30:.1f} GiB" if memory else "unknown"),
        ("python", f"{report['python']} on {report['platform']}"),
        *((name, version or "not installed") for name, version in report["versions"].items()),
        *(("missing", "{package}, for {feature}: {install}".format(**each)) for each in report["missing"]),
        *(
            [("mxnet error", mxnet["error"])]
            if "error" in mxnet
            else [
                ("features", ", ".join(mxnet["features"])),
                ("blas", mxnet["blas"] or "unknown"),
                ("gpus", str(mxnet["gpus"])),
            ]
        ),
    ]


def _missing() -> list[dict[str, str]]:
    """The packages of extras that are not installed."""
    return [
        {"package": extra.package, "feature": extra.feature, "install": install_command(name)}
        for name, extra in EXTRAS.items()
        if _version(extra.package) is None and not (name == "zstd" and sys.version_info >= (3, 14))
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
