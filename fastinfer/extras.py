"""The packages that some features need and the others do without: the extras of pyproject.toml, as hints name them.

A hint names the package itself, not `fastinfer[EXTRA]`: that works from a checkout and from a wheel alike, and needs no
registry that has fastinfer.
"""

from __future__ import annotations

from typing import NamedTuple


class Extra(NamedTuple):
    """An extra.

    Attributes:
        package: the distribution that it installs.
        versions: of that distribution, as pip writes them.
        feature: what needs it, for users.
    """

    package: str
    versions: str
    feature: str


EXTRAS = {
    "train": Extra("requests", ">=2.20,<3", "fastinfer train, a model's serving code"),
    "report": Extra("Pillow", ">=9,<14", "pictures as inputs, and fastinfer report --png"),
    "serve": Extra("aiohttp", ">=3.9,<4", "fastinfer serve"),
    "sagemaker": Extra("boto3", ">=1.34,<2", "S3 and SageMaker's jobs on AWS"),
    "onnx": Extra("onnxruntime", ">=1.19,<2", "models in ONNX"),
    "export": Extra("onnx", ">=1.19,<2", "fastinfer export"),
    "s3": Extra("obstore", ">=0.8,<0.13", "objects on S3, with boto3"),
    "urls": Extra("fsspec", ">=2023.6,<2027", "places at URLs of other kinds"),
    "table": Extra("pyarrow", ">=21,<26", "a run's rows as Parquet"),
    "zstd": Extra("backports.zstd", ">=1,<2", "inputs compressed with zstd"),
    "completion": Extra("shtab", ">=1.6,<2", "fastinfer completion"),
    "dask": Extra("distributed", ">=2023.5,<2027", "--backend dask"),
    "ray": Extra("ray", ">=2.9,<3", "--backend ray"),
}


def install_command(*names: str) -> str:
    """The command that installs what extras of pyproject.toml do."""
    packages = (f"'{EXTRAS[name].package}{EXTRAS[name].versions}'" for name in names)
    return f"pip install {' '.join(packages)}"
