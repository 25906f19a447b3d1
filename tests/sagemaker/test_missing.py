"""Names of SageMaker's SDK that are not here say what to use instead."""

from __future__ import annotations

import pytest

from fastinfer.sagemaker import MXNet, MXNetModel, Transformer
from fastinfer.sagemaker.missing import NotHere
from tests.sagemaker.conftest import ENTRY_POINT


def test_a_name_of_the_sdk_says_what_to_use_instead() -> None:
    estimator = MXNet(str(ENTRY_POINT), instance_type="local")
    for thing in (estimator, MXNetModel("model.tar.gz"), Transformer("m", 1, "local")):
        with pytest.raises(NotHere, match=r"register of SageMaker's SDK is not here.*create_model_package") as caught:
            thing.register()
        assert caught.value.code == "not_here"
        assert not hasattr(thing, "register")
        with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
            _ = thing.no_such_name
