"""An estimator's arguments are visible, have the SDK's order, and accept the names of its version 1."""

from __future__ import annotations

import inspect

import pytest

from fastinfer.errors import ConfigError
from fastinfer.sagemaker import MXNet, Session
from fastinfer.sagemaker.estimator import OLD_NAMES, EstimatorOptions


def test_the_constructor_shows_its_arguments() -> None:
    names = list(inspect.signature(MXNet).parameters)
    # The positions of version 1 and 2 of the SDK's base classes.
    assert names[:6] == ["entry_point", "role", "output_path", "code_location", "instance_count", "instance_type"]
    assert set(OLD_NAMES.values()) <= set(names)
    assert inspect.signature(MXNet) == inspect.signature(EstimatorOptions)


def test_every_argument_is_documented() -> None:
    source = inspect.getsource(EstimatorOptions)
    for name in inspect.signature(EstimatorOptions).parameters:
        assert f"    {name}: " in source
        assert source.split(f"    {name}: ", 1)[1].split("\n")[1].strip().startswith('"""'), name


def test_old_names_set_the_new_attributes_and_none_means_the_default() -> None:
    options = EstimatorOptions("x.py", train_instance_count=2, train_instance_type=None, image_name="mine")
    assert (options.instance_count, options.instance_type, options.image_uri) == (2, "ml.m4.xlarge", "mine")
    assert EstimatorOptions("x.py", instance_count=None).instance_count == 1


def test_an_unknown_argument_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"EstimatorOptions\(\) has no argument 'train_instances'"):
        EstimatorOptions("x.py", train_instances=2)


def test_old_names_are_accepted_and_unknown_ones_are_not(script: str) -> None:
    estimator = MXNet(
        script,
        train_instance_count=2,
        train_instance_type="ml.p3.2xlarge",
        train_volume_size=7,
        train_max_run=60,
        train_max_wait=120,
        train_use_spot_instances=True,
        image_name="mine:latest",
        sagemaker_session=Session(region="us-west-2"),
    )
    assert (estimator.instance_count, estimator.instance_type, estimator.volume_size) == (2, "ml.p3.2xlarge", 7)
    assert (estimator.max_run, estimator.max_wait, estimator.use_spot_instances) == (60, 120, True)
    assert estimator.image_uri == "mine:latest"
    with pytest.raises(ConfigError, match="'train_instance_typ'"):
        MXNet(script, train_instance_typ="ml.m4.xlarge")
