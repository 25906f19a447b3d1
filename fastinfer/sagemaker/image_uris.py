"""Addresses of SageMaker's MXNet images: which versions there are, in which regions, and under whose account.

The facts stand in images.json beside this module, taken from the SageMaker Python SDK's own table (the file names it). The
tests compare every address with the SDK's.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from ..errors import ConfigError, quote

TRAINING = "training"
INFERENCE = "inference"

# Instance types whose images of some versions have a tag of their own.
P4D = re.compile(r"^ml[._]p4d\.?\w*$")


def image_uri(
    scope: str,
    region: str,
    *,
    framework_version: str | None,
    py_version: str | None = None,
    instance_type: str,
) -> str:
    """The address of an MXNet image in SageMaker's registries.

    Args:
        scope: ``training`` or ``inference``.
        region: such as ``us-west-2``.
        framework_version: such as ``1.6.0``, or short as in ``1.6``.
        py_version: such as ``py3``; may be left out where the version has one alone.
        instance_type: decides between the image for CPUs and the one for GPUs.

    Raises:
        ConfigError: ``unknown_version``, ``unknown_python``, ``unknown_region`` or ``bad_instance_type``.
    """
    table = _table()
    versions: dict[str, dict[str, list[str]]] = table["images"][scope]
    wanted = framework_version or ""
    version = table["aliases"].get(wanted, wanted)
    if version not in versions:
        raise ConfigError(
            f"SageMaker has no MXNet image of framework_version {quote(wanted)}"
            if framework_version
            else "framework_version is needed where no image_uri is given",
            code="unknown_version",
            hint=f"there are {', '.join(versions)}"
            + ("; a model trained with MXNet 1.9.1 is served by 1.9.0" if wanted == "1.9.1" else ""),
        )
    pythons = versions[version]
    if py_version is None and len(pythons) == 1:
        py_version = next(iter(pythons))
    if py_version not in pythons:
        raise ConfigError(
            f"MXNet {version} has no image of py_version {quote(py_version or '')}",
            code="unknown_python",
            hint=f"there {'are' if len(pythons) > 1 else 'is'} {', '.join(pythons)}",
        )
    registry, repository = pythons[py_version]
    accounts: dict[str, str] = table["accounts"][registry]
    if region not in accounts:
        raise ConfigError(
            f"the images of MXNet {version} are not in the region {quote(region)}",
            code="unknown_region",
            hint=f"they are in {', '.join(sorted(accounts))}",
        )
    # A short version stays short: SageMaker keeps a tag for each.
    tag = f"{wanted}-{processor(instance_type)}-{py_version}"
    if P4D.match(instance_type) and tag in table["suffixes"]:
        tag = f"{tag}-{table['suffixes'][tag]}"
    domain = table["domains"].get(region, table["domains"]["default"])
    return f"{accounts[region]}.dkr.ecr.{region}.{domain}/{repository}:{tag}"


def processor(instance_type: str) -> str:
    """``gpu`` or ``cpu``, by an instance type's family.

    Raises:
        ConfigError: ``bad_instance_type``, also for families that no MXNet image is made for.
    """
    match = re.match(r"^ml[._]([a-z\d]+)\.?\w*$", instance_type)
    family = match[1] if match else ""
    if not family or family.startswith(("inf", "trn")):
        raise ConfigError(
            f"MXNet does not run on the instance type {quote(instance_type)}",
            code="bad_instance_type",
            hint="such as ml.m4.xlarge, ml.p3.2xlarge, or local",
        )
    return "gpu" if family[0] in "gp" else "cpu"


def base_name(image: str) -> str:
    """What names are made of where the user gives none: ``…/mxnet-training:1.6.0-cpu-py3`` is ``mxnet-training``."""
    match = re.match(r"^(?:.+/)?([^:/]+)(?::[^:]+)?$", image)
    return match[1] if match else image


@functools.cache
def _table() -> Any:
    return json.loads(Path(__file__).with_name("images.json").read_text(encoding="utf-8"))
