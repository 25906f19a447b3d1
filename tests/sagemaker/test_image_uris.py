"""Image addresses are those of SageMaker's SDK, all of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fastinfer.errors import ConfigError
from fastinfer.sagemaker import image_uris as images

ASK = """
import functools, json, logging, sys
logging.disable(logging.CRITICAL)
from sagemaker import image_uris, utils
# The SDK reads botocore's file of all endpoints again for every answer; once is enough.
utils._botocore_resolver = functools.lru_cache(maxsize=None)(utils._botocore_resolver)
found = []
for scope, version, python, region, instance in json.load(sys.stdin):
    try:
        address = image_uris.retrieve(
            "mxnet", region, version=version, py_version=python, instance_type=instance, image_scope=scope
        )
    except (ValueError, KeyError):
        address = None
    found.append(address)
print(json.dumps(found))
"""
INSTANCES = ["ml.m4.xlarge", "ml.p3.2xlarge", "ml.g4dn.xlarge", "ml.p4d.24xlarge"]


def test_addresses_are_the_sdks(sdk_python: Path) -> None:
    table = json.loads(Path(images.__file__).with_name("images.json").read_text())
    questions, asked = [], set()
    for scope in (images.TRAINING, images.INFERENCE):
        versions = {**{version: version for version in table["images"][scope]}, **table["aliases"]}
        for short, version in versions.items():
            for python, (registry, repository) in table["images"][scope].get(version, {}).items():
                # Region and tag do not depend on each other: each version in one region with all instances, and each
                # registry's repository in all regions.
                questions += [(scope, short, python, "us-west-2", instance) for instance in INSTANCES]
                if (registry, repository) not in asked:
                    asked.add((registry, repository))
                    questions += [
                        (scope, short, python, region, INSTANCES[0]) for region in table["accounts"][registry]
                    ]
    assert len(questions) > 200
    done = subprocess.run(
        [sdk_python, "-c", ASK], input=json.dumps(questions), capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout)
    ours = [
        images.image_uri(scope, region, framework_version=version, py_version=python, instance_type=instance)
        for scope, version, python, region, instance in questions
    ]
    differing = [(question, our, their) for question, our, their in zip(questions, ours, theirs) if our != their]
    assert differing == []


def test_the_notebooks_image_is_found() -> None:
    address = images.image_uri(
        images.TRAINING, "us-west-2", framework_version="1.6.0", py_version="py3", instance_type="ml.m4.xlarge"
    )
    assert address == "763104351884.dkr.ecr.us-west-2.amazonaws.com/mxnet-training:1.6.0-cpu-py3"


@pytest.mark.parametrize(
    ("version", "python", "region", "instance", "code"),
    [
        ("1.9.1", "py38", "us-west-2", "ml.m4.xlarge", "unknown_version"),
        (None, "py38", "us-west-2", "ml.m4.xlarge", "unknown_version"),
        ("1.9.0", "py36", "us-west-2", "ml.m4.xlarge", "unknown_python"),
        ("1.9.0", "py38", "mars-east-1", "ml.m4.xlarge", "unknown_region"),
        ("1.9.0", "py38", "us-west-2", "ml.inf1.xlarge", "bad_instance_type"),
        ("1.9.0", "py38", "us-west-2", "m4.xlarge", "bad_instance_type"),
    ],
)
def test_what_has_no_image_is_an_error_that_says_what_there_is(
    version: str | None, python: str, region: str, instance: str, code: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        images.image_uri(images.TRAINING, region, framework_version=version, py_version=python, instance_type=instance)
    assert caught.value.code == code
    assert caught.value.hint
