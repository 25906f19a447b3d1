"""Every kind of model that the container serves is served, with its text: SageMaker's own handler runs beside."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fastinfer.errors import InputError
from fastinfer.handlers.hooks import load_handler
from fastinfer.handlers.predictor import Predictor
from fastinfer.models.module import load_model
from fastinfer.transformer import transform
from tests import networks
from tests.networks import mx
from tests.sagemaker.environment import container_environment

BODY = b"1,2,3,4\n5,0,7,8\n9,9,1,0\n0,1,2,9\n3,3,3,3\n"
COLUMNS = {"user": 1, "item": 3}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, save in networks.SERVED.items():
        save(folder / name)
    for name, save in networks.HELD.items():
        save(folder / f"held_{name}")
    (folder / "in.csv").write_bytes(BODY)
    return folder


@pytest.fixture(scope="module")
def answers(models: Path, container_python: Path) -> dict[str, list[str]]:
    """The container's answers, as JSON and as CSV."""
    listed = [f"{path.name}={path}" for path in models.iterdir() if path.is_dir()]
    command: list[str | Path] = [container_python, Path(__file__).with_name("served.py"), models / "in.csv", *listed]
    environment = container_environment(container_python)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", networks.SERVED)
def test_the_answer_is_the_containers(name: str, models: Path, answers: dict[str, list[str]], tmp_path: Path) -> None:
    as_json, as_csv = answers[name]
    transform(models / "in.csv", tmp_path / "exact", models / name, exact=True, workers=1)
    assert (tmp_path / "exact" / "in.csv.out").read_text() == as_json
    handler = load_handler(models / name, exact=True)  # answers for the server
    assert handler.answer(BODY, "text/csv")[0].decode() == as_json
    if as_csv == "ValueError":  # the container has no CSV for it
        with pytest.raises(InputError, match="unsupported Accept"):
            handler.answer(BODY, "text/csv", "text/csv")
    else:
        assert handler.answer(BODY, "text/csv", "text/csv")[0].decode() == as_csv


@pytest.mark.parametrize("name", networks.SERVED)
def test_the_default_mode_differs_in_last_digits_alone(
    name: str, models: Path, answers: dict[str, list[str]], tmp_path: Path
) -> None:
    transform(models / "in.csv", tmp_path, models / name, workers=1)
    found = (tmp_path / "in.csv.out").read_text()
    expected = json.loads(answers[name][0])
    np.testing.assert_allclose(json.loads(found), expected, rtol=1e-5, atol=1e-6)
    assert np.array(json.loads(found)).dtype == np.array(expected).dtype
    assert Predictor(models / name).answer(BODY)[0].decode() == found


@pytest.mark.filterwarnings("ignore:the graph holds batch size 8:RuntimeWarning")
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", networks.HELD)
def test_a_graph_that_holds_a_batch_size_is_served_by_padding_though_not_by_the_container(
    name: str, exact: bool, models: Path, answers: dict[str, list[str]], tmp_path: Path
) -> None:
    folder = models / f"held_{name}"
    # A batch of 8 by MXNet's own Module; the records beside the five are others than those here.
    symbol, arguments, auxiliary = mx.model.load_checkpoint(str(folder / "model"), 0)
    module = mx.mod.Module(symbol, label_names=None)
    shape = (8, *load_model(folder).row_shape)
    module.bind(for_training=False, data_shapes=[("data", shape)])
    module.set_params(arguments, auxiliary)
    rows = np.full((8, 4), 3, np.float32)
    rows[:5] = np.loadtxt(BODY.splitlines(), delimiter=",")
    module.forward(mx.io.DataBatch([mx.nd.array(rows.reshape(shape))]), is_train=False)
    output = module.get_outputs()[0].asnumpy()
    expected = output[: 5 * len(output) // 8].tolist()
    assert answers[folder.name][0] != json.dumps(expected)  # it fails, or prints what lies in memory behind a record

    summary = transform(models / "in.csv", tmp_path, folder, exact=exact, workers=1)
    assert summary.batch_size == 8
    found = [
        (tmp_path / "in.csv.out").read_text(),
        Predictor(folder, exact=exact).answer(BODY)[0],
        load_handler(folder, exact=exact).answer(BODY, "text/csv")[0],
    ]
    for text in found:  # last bits are the same where the size is invariant, which is a matter of the CPU
        np.testing.assert_allclose(json.loads(text), expected, rtol=0 if summary.invariant else 1e-5)


def test_parameterswithout_kinds_are_those_with_them(models: Path, tmp_path: Path) -> None:
    bare = networks.without_kinds(tmp_path / "bare")
    assert Predictor(bare).answer(BODY) == Predictor(models / "norm").answer(BODY)


def two_outputs(folder: Path) -> Path:
    hidden = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3, name="fc")
    outputs = [mx.sym.softmax(hidden, name="softmax"), mx.sym.topk(hidden, k=1, dtype="int32", name="best")]
    return networks.write(folder, mx.sym.Group(outputs), {"data": (4,)})


@pytest.mark.parametrize("exact", [False, True])
def test_of_several_outputs_each_is_given_or_one(exact: bool, models: Path, tmp_path: Path) -> None:
    folder = two_outputs(tmp_path / "two")
    texts = {}
    for output in ("softmax", "best_output", "fc_output", "all"):
        model = load_model(folder, output=output)
        transform(models / "in.csv", tmp_path / output, model, exact=exact, workers=1)
        texts[output] = json.loads((tmp_path / output / "in.csv.out").read_text())
        assert json.loads(Predictor(model, exact=exact).answer(BODY)[0]) == texts[output]
    assert np.shape(texts["fc_output"]) == (5, 3)
    assert texts["all"] == [
        {"softmax_output": left, "best_output": right} for left, right in zip(texts["softmax"], texts["best_output"])
    ]
    with pytest.raises(InputError, match="unsupported Accept 'text/csv'"):
        Predictor(load_model(folder, output="all")).answer(BODY, "text/csv", "text/csv")


@pytest.mark.parametrize("exact", [False, True])
def test_columns_go_to_the_inputs_that_are_named(exact: bool, models: Path, tmp_path: Path) -> None:
    user, item = mx.sym.var("user"), mx.sym.var("item")
    joined = mx.sym.Concat(mx.sym.broadcast_mul(user, mx.sym.var("scale", shape=(1, 1))), item, dim=1)
    symbol = mx.sym.FullyConnected(joined, num_hidden=2, name="fc")
    folder = networks.write(tmp_path / "pair", symbol, {"user": (1,), "item": (3,)})
    (folder / "model-shapes.json").unlink()
    model = load_model(folder, inputs=COLUMNS)
    transform(models / "in.csv", tmp_path / "out", model, exact=exact, workers=1)
    rows = np.loadtxt(BODY.splitlines(), delimiter=",")
    saved = {name[4:]: array.asnumpy() for name, array in mx.nd.load(str(folder / "model-0000.params")).items()}
    features = np.concatenate([rows[:, :1] * saved["scale"], rows[:, 1:]], axis=1)
    found = json.loads((tmp_path / "out" / "in.csv.out").read_text())
    np.testing.assert_allclose(found, features @ saved["fc_weight"].T + saved["fc_bias"], rtol=1e-5)
    assert json.loads(Predictor(model, exact=exact).answer(BODY)[0]) == found


def test_a_missing_weight_is_an_error_unless_it_may_be_zero(tmp_path: Path) -> None:
    folder = networks.SERVED["norm"](tmp_path / "norm")
    networks.edit(folder, lambda saved: [saved.pop(name) for name in list(saved) if name.endswith("bias")])
    with pytest.raises(Exception, match="the parameters lack fullyconnected") as caught:
        Predictor(folder)
    assert getattr(caught.value, "code", None) == "params_missing"
    Predictor(load_model(folder, allow_missing=True)).answer(BODY)
