"""URIs of SageMaker's MXNet images: the versions, the regions, and the accounts that own the registries.

The table is images.json beside this module, taken from the SageMaker Python SDK's own (the file names its source). The
tests compare every URI with the SDK's.
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

# Local jobs use no image. These names have an image's form; jobs are named after them.
LOCAL_TRAINING, LOCAL_INFERENCE = "local/mxnet-training", "local/mxnet-inference"

# Instance types for which some versions have an image with its own tag.
P4D = re.compile(r"^ml[._]p4d\.?\w*$")


def image_uri(
    scope: str,
    region: str,
    *,
    framework_version: str | None,
    py_version: str | None = None,
    instance_type: str,
) -> str:
    """The URI of an MXNet image in SageMaker's registries.

    Args:
        scope: ``training`` or ``inference``.
        region: such as ``us-west-2``.
        framework_version: such as ``1.6.0``, or shorter, ``1.6``.
        py_version: such as ``py3``; None where the version has only one.
        instance_type: chooses between the image for CPUs and the one for GPUs.

    Raises:
        ConfigError: ``unknown_version``, ``unknown_python``, ``unknown_region`` or ``bad_instance_type``.
    """
    table = _table()
    versions: dict[str, dict[str, list[str]]] = table["images"][scope]
    wanted = framework_version or ""
    version = table["aliases"].get(wanted, wanted)
    if version not in versions:
        raise ConfigError(
            f"SageMaker has no MXNet image with framework_version {quote(wanted)}"
            if framework_version
            else "framework_version is required without image_uri",
            code="unknown_version",
            hint=f"use one of {', '.join(versions)}"
            + ("; 1.9.0 serves models that MXNet 1.9.1 trained" if wanted == "1.9.1" else ""),
        )
    pythons = versions[version]
    if py_version is None and len(pythons) == 1:
        py_version = next(iter(pythons))
    if py_version not in pythons:
        raise ConfigError(
            f"SageMaker has no image of MXNet {version} with py_version {quote(py_version or '')}",
            code="unknown_python",
            hint=f"use {' or '.join(pythons)}",
        )
    registry, repository = pythons[py_version]
    accounts: dict[str, str] = table["accounts"][registry]
    if region not in accounts:
        raise ConfigError(
            f"SageMaker has no image of MXNet {version} in the region {quote(region)}",
            code="unknown_region",
            hint=f"use one of {', '.join(sorted(accounts))}",
        )
    # A shorter version stays as it is: SageMaker has a tag for each.
    tag = f"{wanted}-{processor(instance_type)}-{py_version}"
    if P4D.match(instance_type) and tag in table["suffixes"]:
        tag = f"{tag}-{table['suffixes'][tag]}"
    domain = table["domains"].get(region, table["domains"]["default"])
    return f"{accounts[region]}.dkr.ecr.{region}.{domain}/{repository}:{tag}"


def processor(instance_type: str) -> str:
    """``gpu`` or ``cpu``, according to an instance type's family.

    Raises:
        ConfigError: ``bad_instance_type``, also for families that have no MXNet image.
    """
    match = re.match(r"^ml[._]([a-z\d]+)\.?\w*$", instance_type)
    family = match[1] if match else ""
    if not family or family.startswith(("inf", "trn")):
        raise ConfigError(
            f"MXNet does not run on the instance type {quote(instance_type)}",
            code="bad_instance_type",
            hint="use a type such as ml.m4.xlarge, ml.p3.2xlarge, or local",
        )
    return "gpu" if family[0] in "gp" else "cpu"


def base_name(image: str) -> str:
    """The base of names where the user gives none: of ``…/mxnet-training:1.6.0-cpu-py3`` it is ``mxnet-training``."""
    match = re.match(r"^(?:.+/)?([^:/]+)(?::[^:]+)?$", image)
    return match[1] if match else image


@functools.cache
def _table() -> Any:
    return json.loads(Path(__file__).with_name("images.json").read_text(encoding="utf-8"))
