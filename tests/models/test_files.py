"""A model is found by the names of its files; what is there instead is said."""

from __future__ import annotations

import pytest

from fastinfer.errors import ModelError
from fastinfer.models.files import MODEL_FILES, ModelFiles, choose_files

MNIST = ["mnist-symbol.json", "mnist-0001.params", "mnist-0010.params", "mnist-0009.states"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (MODEL_FILES, "model-symbol.json model-0000.params model-shapes.json"),
        (["model-symbol.json", "model-0000.params"], "model-symbol.json model-0000.params -"),
        (MNIST, "mnist-symbol.json mnist-0010.params -"),
        ([*MNIST, "model-shapes.json"], "mnist-symbol.json mnist-0010.params model-shapes.json"),
        ([*MNIST, "mnist-shapes.json"], "mnist-symbol.json mnist-0010.params mnist-shapes.json"),
        (["net-symbol.json", "net-12345.params"], "net-symbol.json net-12345.params -"),
        # SageMaker's container reads epoch 0, whatever lies beside it.
        ([*MODEL_FILES, "model-0007.params"], "model-symbol.json model-0000.params model-shapes.json"),
        (["model-symbol.json", "model-0007.params"], "model-symbol.json model-0007.params -"),
        # SageMaker's built-in algorithms.
        (
            ["image-classification-symbol.json", "image-classification-0030.params", "model-shapes.json"],
            "image-classification-symbol.json image-classification-0030.params model-shapes.json",
        ),
        (
            ["model_algo_1-symbol.json", "model_algo_1-0000.params"],
            "model_algo_1-symbol.json model_algo_1-0000.params -",
        ),
        # One folder down; what is at the top comes first.
        (
            [f"plain/{name}" for name in MODEL_FILES],
            "plain/model-symbol.json plain/model-0000.params plain/model-shapes.json",
        ),
        (
            [*MODEL_FILES, *[f"old/{name}" for name in MODEL_FILES]],
            "model-symbol.json model-0000.params model-shapes.json",
        ),
        # Among several, the one with the container's names.
        ([*MODEL_FILES, *MNIST], "model-symbol.json model-0000.params model-shapes.json"),
        # One without parameters is none.
        (["draft-symbol.json", *MNIST], "mnist-symbol.json mnist-0010.params -"),
        (["层-symbol.json", "层-0000.params"], "层-symbol.json 层-0000.params -"),
        (["a-b-symbol.json", "a-b-0000.params", "a-0000.params"], "a-b-symbol.json a-b-0000.params -"),
    ],
)
def test_the_files_of_the_model_are_found(names: list[str], found: str) -> None:
    symbol, params, shapes = found.split()
    files = choose_files(names, "x")
    assert files[3:] == (symbol, params, None if shapes == "-" else shapes)
    assert files == choose_files(reversed(list(names)), "x")


def test_prefix_and_epoch_can_be_named() -> None:
    names = [*MNIST, "other-symbol.json", "other-0002.params"]
    assert choose_files(names, "x", prefix="other") == ModelFiles(
        "", "other", 2, "other-symbol.json", "other-0002.params", None
    )
    assert choose_files(names, "x", prefix="mnist", epoch=1).params == "mnist-0001.params"
    assert choose_files(names, "x", epoch=2).params == "other-0002.params"
    assert choose_files([*MODEL_FILES, "model-0007.params"], "x", epoch=7).params == "model-0007.params"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "x: there is no file in it. Hint: expected PREFIX-symbol.json and PREFIX-NNNN.params"),
        (
            ["data.csv", "a/b.txt"],
            "x: there is no model in it: found a/b.txt, data.csv. Hint: expected PREFIX-symbol.json",
        ),
        (["net.params"], "found net.params. Hint: expected PREFIX-symbol.json and PREFIX-NNNN.params"),
        (["net.params"], "Gluon's HybridBlock.export writes both, save_parameters only the second"),
        (
            ["net-symbol.json"],
            "net-symbol.json has no parameters: there is no file of parameters. Hint: expected net-",
        ),
        (["net-symbol.json", "other-0000.params"], "net-symbol.json has no parameters: found other-0000.params"),
        (
            ["a/b/model-symbol.json", "a/b/model-0000.params"],
            "found a/b/model-0000.params, a/b/model-symbol.json, more than one folder down",
        ),
        (
            [f"{number:02}.csv" for number in range(20)],
            "05.csv, 06.csv, 07.csv and 12 more",
        ),
    ],
)
def test_what_is_there_instead_is_said(names: list[str], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        choose_files(names, "x")
    assert caught.value.code == "model_incomplete"
    assert words in str(caught.value)


def test_an_epoch_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ModelError, match=r"no parameters of epoch 5 with mnist-symbol\.json, but of 1, 10$"):
        choose_files(MNIST, "x", epoch=5)


def test_of_several_models_one_must_be_named() -> None:
    names = [*MNIST, "other-symbol.json", "other-0002.params"]
    with pytest.raises(
        ModelError, match=r"there are 2 models: mnist, other\. Hint: name one, such as x/mnist"
    ) as caught:
        choose_files(names, "x")
    assert caught.value.code == "several_models"
