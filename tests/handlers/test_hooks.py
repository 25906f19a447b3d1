"""A user's serving module answers as in SageMaker's container: its toolkit runs here, on the same modules and bodies."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import pytest

from fastinfer.errors import ConfigError, InputError, ModelError
from fastinfer.handlers.hooks import load_handler
from fastinfer.handlers.request import Request
from tests.conftest import csv

CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"


class Answer(NamedTuple):
    status: int
    body: bytes
    content_type: str | None


Container = Callable[..., Answer]


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    """What the container answers: its handler service and its Transformer, a new one for each model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the toolkit's own imports use what is deprecated
        from mms.context import Context, RequestProcessor
        from sagemaker_mxnet_serving_container.handler_service import HandlerService
    services: dict[Path, Any] = {}

    def forget() -> None:
        """Takes the modules of other models out, which a process of its own would not have."""
        for name, module in list(sys.modules.items()):
            if f"{os.sep}code{os.sep}" in str(getattr(module, "__file__", None)):
                del sys.modules[name]

    def answer(model: Path, body: bytes, content_type: str | None = CSV, accept: str | None = None) -> Answer:
        context = Context("model", str(model), {}, 1, None, "1.1.11")
        headers = {name: value for name, value in (("Content-Type", content_type), ("Accept", accept)) if value}
        with warnings.catch_warnings(), monkeypatch.context() as patch:
            warnings.simplefilter("ignore")
            patch.syspath_prepend(str(model / "code"))
            patch.setenv("PYTHONPATH", "")
            if model not in services:
                forget()
                services[model] = HandlerService()
                services[model].initialize(context)
            context.request_processor = [RequestProcessor(headers)]
            (result,) = services[model].handle([{"body": bytearray(body)}], context)
        status, _ = context.get_response_status(0)
        # As the model server sends it (mms.protocol.otf_message_handler).
        if isinstance(result, str):
            result = result.encode()
        elif not isinstance(result, (bytes, bytearray)):
            result = json.dumps(result, indent=2).encode()
        return Answer(status or 200, bytes(result), context.get_response_content_type(0))

    monkeypatch.setenv("SAGEMAKER_PROGRAM", f"{PROGRAM}.py")
    yield answer
    forget()


PROGRAM = "serving_module"

MODEL_FN = """
import os
import mxnet as mx

def model_fn(model_dir):
    symbol, arguments, auxiliary = mx.model.load_checkpoint(os.path.join(model_dir, "model"), 0)
    module = mx.mod.Module(symbol, data_names=["data"], label_names=None)
    module.bind(for_training=False, data_shapes=[("data", (ROWS, 1, 28, 28))])
    module.set_params(arguments, auxiliary, allow_missing=True)
    return module
"""

BLOCK_FN = """
import mxnet as mx

def model_fn(model_dir):
    net = mx.gluon.nn.Sequential()
    net.add(mx.gluon.nn.Flatten(), mx.gluon.nn.Dense(4, in_units=784))
    net.initialize(mx.init.One())
    return net
"""

TRANSFORM_FN = """
import json

def transform_fn(model, data, content_type, accept):
    return json.dumps([type(model).__name__, type(data).__name__, len(data), content_type, accept])
"""

INPUT_FN = """
import mxnet as mx
import numpy as np

def input_fn(data, content_type):
    assert isinstance(data, str), type(data)
    rows = np.array([[float(cell) for cell in line.split(";")] for line in data.split()], np.float32)
    return mx.nd.array(rows.reshape(-1, 1, 28, 28) / 255)
"""

INPUT_FN_WITH_MODEL = """
import mxnet as mx
import numpy as np

def input_fn(body, kind, model):
    ((_, shape),) = model.data_shapes
    rows = np.frombuffer(body, np.uint8).reshape(-1, *shape[1:])
    return mx.io.NDArrayIter(mx.nd.array(rows), batch_size=shape[0])
"""

PREDICT_FN = """
def predict_fn(data, model):
    return model.predict(data).log()
"""

OUTPUT_FN = """
def output_fn(prediction, accept):
    return "\\n".join(str(int(label)) for label in prediction.asnumpy().argmax(axis=1)) + "\\n"
"""

OUTPUT_FN_TUPLE = """
def output_fn(prediction, accept):
    return {"labels": prediction.asnumpy().argmax(axis=1).tolist(), "accept": accept}, "application/x-labels"
"""

NO_HOOKS = """
def train():
    return 1

if __name__ == "__main__":
    train()
"""


@pytest.fixture
def model(mlp: Path, tmp_path: Path) -> Callable[..., Path]:
    """A folder of the notebook's model with a serving module."""

    def make(*sources: str, name: str = "model", **others: str) -> Path:
        folder = shutil.copytree(mlp, tmp_path / name)
        (folder / "code").mkdir()
        (folder / "code" / f"{PROGRAM}.py").write_text("".join(sources))
        for other, text in others.items():
            (folder / "code" / f"{other}.py").write_text(text)
        return folder

    return make


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def bodies(digits: np.ndarray) -> dict[str, tuple[bytes, str | None]]:
    few = digits[:3]
    return {
        "csv": (csv(few), CSV),
        "json": (json.dumps((few.reshape(-1, 1, 28, 28) / 255).tolist()).encode(), JSON),
        "npy": (npy(few.reshape(-1, 1, 28, 28) / 255), NPY),
        "semicolons": (b"\n".join(b";".join(b"%d" % pixel for pixel in row) for row in few), CSV),
        "pixels": (few.tobytes(), "application/x-pixels"),
        "not utf-8": (b"\xff\xfe", CSV),
        "not csv": (b"1,2\n3,oops\n", CSV),
        "no type": (csv(few), None),
    }


MODULES = {
    "no hooks": (NO_HOOKS,),
    "output_fn": (OUTPUT_FN,),
    "output_fn with a type": (OUTPUT_FN_TUPLE,),
    "input_fn": (INPUT_FN,),
    "input_fn with the model": (INPUT_FN_WITH_MODEL,),
    "predict_fn": (PREDICT_FN,),
    "all but the model": (INPUT_FN, PREDICT_FN, OUTPUT_FN),
    "model_fn": (MODEL_FN.replace("ROWS", "1"),),
    "model_fn and input_fn": (MODEL_FN.replace("ROWS", "1"), INPUT_FN_WITH_MODEL),
    "transform_fn": (TRANSFORM_FN,),
    "transform_fn and model_fn": ("def model_fn(model_dir):\n    return {'any': 'thing'}\n", TRANSFORM_FN),
    "block": (BLOCK_FN,),
    "block and output_fn": (BLOCK_FN, OUTPUT_FN),
    "warm-up": (
        "def pre_model_fn(model_dir):\n    assert model_dir\n",
        "def model_warmup_fn(model_dir, model):\n    model.data_shapes\n",
    ),
}


@pytest.mark.parametrize("kind", MODULES)
def test_modules_answer_as_in_the_container(
    kind: str, model: Callable[..., Path], digits: np.ndarray, container: Container
) -> None:
    folder = model(*MODULES[kind])
    handler = load_handler(folder, exact=True)
    assert handler.has_hooks == (kind != "no hooks")
    answered = 0
    for name, (body, content_type) in bodies(digits).items():
        for accept in (None, "*/*", JSON, CSV, NPY, "image/png", f"image/png, {CSV}"):
            theirs = container(folder, body, content_type, accept)
            if theirs.status == http.client.OK:
                ours, our_type = handler.answer(body, content_type, accept)
                assert ours == theirs.body, (name, accept)
                # Of several types that were asked for we name the one that was given, where the default chose it.
                assert our_type in (theirs.content_type, CSV), (name, accept)
                answered += 1
            else:
                with pytest.raises(Exception):  # noqa: B017, PT011 - hooks raise what they like
                    handler.answer(body, content_type, accept)
    assert answered


def test_a_hook_may_have_what_it_is_given_as_its_own(model: Callable[..., Path], container: Container) -> None:
    source = "def transform_fn(model, data, content_type, accept):\n    data += b'!'\n    return data\n"
    folder = model(source)
    body = b"pixels"
    answers = container(folder, body, "image/png", None), load_handler(folder).answer(body, "image/png")
    assert [answer[-2] for answer in answers] == [b"pixels!", b"pixels!"]
    assert body == b"pixels"


def test_the_default_accept_is_the_environments(
    model: Callable[..., Path], digits: np.ndarray, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", CSV)
    for name, sources in (("a", (NO_HOOKS,)), ("b", (TRANSFORM_FN,)), ("c", (OUTPUT_FN_TUPLE,))):
        folder = model(*sources, name=name)
        handler = load_handler(folder, exact=True)
        for accept in (None, "*/*", JSON):
            assert (
                handler.answer(csv(digits[:1]), CSV, accept)[0] == container(folder, csv(digits[:1]), CSV, accept).body
            )


def test_an_error_with_a_status_of_its_own_keeps_it(model: Callable[..., Path], container: Container) -> None:
    folder = model(
        "from sagemaker_inference.errors import BaseInferenceToolkitError\n"
        "def transform_fn(model, data, content_type, accept):\n"
        "    raise BaseInferenceToolkitError(418, 'short and stout', 'teapot')\n"
    )
    assert container(folder, b"", CSV).status == 418
    with pytest.raises(Exception, match="short and stout") as caught:
        load_handler(folder).answer(b"", CSV)
    assert caught.value.status_code == 418  # type: ignore[attr-defined]


def test_a_module_of_many_rows_answers_every_row(model: Callable[..., Path], digits: np.ndarray) -> None:
    alone = json.loads(load_handler(model(NO_HOOKS), program=PROGRAM).answer(csv(digits[:20]), CSV)[0])
    for rows in (1, 8, 20, 32):
        folder = model(MODEL_FN.replace("ROWS", str(rows)), name=f"rows-{rows}")
        handler = load_handler(folder, program=PROGRAM)
        for count in (1, 8, 20):
            found = json.loads(handler.answer(csv(digits[:count]), CSV)[0])
            assert np.abs(np.array(found) - alone[:count]).max() < 1e-6


def test_both_kinds_of_hooks_are_refused(model: Callable[..., Path], container: Container) -> None:
    folder = model(TRANSFORM_FN, INPUT_FN)
    with pytest.raises(ValueError, match="Cannot use transform_fn"):
        container(folder, b"1")
    with pytest.raises(ModelError, match=r"not both kinds; found transform_fn and input_fn") as caught:
        load_handler(folder)
    assert caught.value.code == "bad_program"


def test_a_model_of_another_kind_needs_a_transform_fn(model: Callable[..., Path], container: Container) -> None:
    folder = model("def model_fn(model_dir):\n    return 1\n", INPUT_FN, PREDICT_FN, OUTPUT_FN)
    with pytest.raises(ValueError, match="Unsupported model type"):
        container(folder, b"1")
    with pytest.raises(ModelError, match="expected a Module or a Gluon block from model_fn, found int"):
        load_handler(folder)


def test_nothing_can_be_said_about_a_model_that_model_fn_loads(model: Callable[..., Path]) -> None:
    folder = model("def model_fn(model_dir):\n    return 1\n", TRANSFORM_FN)
    with pytest.raises(ConfigError, match=r"epoch, output: cannot be chosen where the model's own code answers"):
        load_handler(folder, program=PROGRAM, choice={"epoch": 0, "output": "all"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_to_be_found\n", r":1: cannot be imported: ModuleNotFoundError: .*nowhere_to_be_found"),
        ("x = 1\ny = x +\n", r":2: cannot be imported: SyntaxError"),
        ("import sys\n\nsys.exit('no')\n", r":3: cannot be imported: SystemExit: no"),
        ("def model_fn(model_dir):\n    return open(model_dir + '/gone')\n", r":2: model_fn failed: FileNotFoundError"),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(source: str, message: str, model: Callable[..., Path]) -> None:
    folder = model(source)
    with pytest.raises(ModelError, match=rf"code/serving_module\.py{message}") as caught:
        load_handler(folder, program=PROGRAM)
    assert caught.value.code == "bad_program"


def test_helpers_beside_the_module_are_its_own(
    model: Callable[..., Path], digits: np.ndarray, container: Container
) -> None:
    source = "import helper\ndef output_fn(prediction, accept):\n    import late\n    return helper.NAME + late.NAME\n"
    first = model(source, name="first", helper="NAME = 'first'", late="NAME = ' late'")
    second = model(source, name="second", helper="NAME = 'second'", late="NAME = ' latest'")
    before = list(sys.path)
    handlers = load_handler(first), load_handler(second)
    body = csv(digits[:1])
    assert handlers[1].answer(body, CSV)[0] == b"second latest"
    assert handlers[0].answer(body, CSV)[0].startswith(b"first")
    assert container(first, body).body == b"first late"
    assert sys.path == before
    assert not list(first.rglob("*.pyc"))


def test_a_module_may_have_the_name_of_another(mlp: Path, digits: np.ndarray, tmp_path: Path) -> None:
    folder = shutil.copytree(mlp, tmp_path / "model")
    (folder / "code").mkdir()
    (folder / "code" / "json.py").write_text("def output_fn(prediction, accept):\n    return 'mine'\n")
    assert load_handler(folder, program="json.py").answer(csv(digits[:1]), CSV) == (b"mine", JSON)
    assert json.loads("1") == 1
    package = folder / "code" / "serving" / "entry"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("from . import entry\n")
    (package / "__init__.py").write_text("from .. import __name__ as parent\n" + OUTPUT_FN)
    for program in ("serving.entry", "serving"):
        handler = load_handler(folder, program=program)
        assert handler.has_hooks == (program == "serving.entry")


def test_which_module_serves(model: Callable[..., Path], mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model(OUTPUT_FN)
    monkeypatch.delenv("SAGEMAKER_PROGRAM", raising=False)
    assert not load_handler(mlp).has_hooks
    with pytest.raises(ModelError, match="does not name the module") as caught:
        load_handler(folder)
    assert caught.value.code == "no_program"
    assert not load_handler(folder, program="").has_hooks
    assert load_handler(folder, program=PROGRAM).has_hooks
    monkeypatch.setenv("SAGEMAKER_PROGRAM", f"{PROGRAM}.py")
    assert load_handler(folder).has_hooks
    for missing in (mlp, folder):
        with pytest.raises(ModelError, match=r"code/gone\.py does not exist"):
            load_handler(missing, program="gone.py")
    monkeypatch.delenv("SAGEMAKER_PROGRAM")
    (folder / "code" / f"{PROGRAM}.py").rename(folder / "code" / "inference.py")
    assert load_handler(folder).has_hooks


def test_hooks_in_an_archive_are_used(model: Callable[..., Path], digits: np.ndarray, tmp_path: Path) -> None:
    folder = model(OUTPUT_FN)
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, ".")
    handler = load_handler(archive, program=PROGRAM)
    assert handler.answer(csv(digits[:2]), CSV) == load_handler(folder, program=PROGRAM).answer(csv(digits[:2]), CSV)
    with pytest.raises(ModelError, match="does not name the module"):
        load_handler(archive)

    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, ".")
        link = tarfile.TarInfo("code/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ModelError, match=r"code/link\.py.* is a link") as caught:
        load_handler(archive, program=PROGRAM)
    assert caught.value.code == "unsafe_archive"


def test_the_model_named_by_the_environment_is_found(
    model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SM_MODEL_DIR", str(model(OUTPUT_FN)))
    assert load_handler(program=PROGRAM).has_hooks


def test_hooks_run_one_at_a_time(model: Callable[..., Path]) -> None:
    source = (
        "import time\nrunning = []\n"
        "def transform_fn(model, data, content_type, accept):\n"
        "    running.append(1); found = len(running); time.sleep(0.01); running.pop()\n    return found\n"
    )
    handler = load_handler(model(source), program=PROGRAM)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(handler.answer(b"x", CSV)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"1"] * 8


@pytest.mark.parametrize("code", [OUTPUT_FN, "def transform_fn(*all):\n    return 1\n", "x = 1\n"])
def test_a_setting_that_there_is_not_is_an_error_also_where_hooks_answer(code: str, model: Callable[..., Path]) -> None:
    settings: Any = {"treads": 2}
    with pytest.raises(TypeError, match="unexpected keyword argument 'treads'"):
        load_handler(model(code), program=PROGRAM, **settings)


def test_what_cannot_be_sent_is_an_error(model: Callable[..., Path]) -> None:
    handler = load_handler(model("def transform_fn(*all):\n    return object()\n"), program=PROGRAM)
    with pytest.raises(TypeError):
        handler.answer(b"", CSV)
    with pytest.raises(InputError, match="content type"):
        load_handler(model(OUTPUT_FN, name="other"), program=PROGRAM).answer(b"", None)


EXITS = """
def exits(name):
    def hook(*all):
        if name in str(all):
            raise {kind}
        return all[0]
    return hook

def model_fn(model_dir):
    return None

input_fn, predict_fn, output_fn = exits("input"), exits("predict"), exits("output")
"""


@pytest.mark.parametrize("kind", ["SystemExit(3)", "KeyboardInterrupt", "GeneratorExit"])
def test_a_hook_that_would_end_its_thread_is_an_error_that_names_it(kind: str, model: Callable[..., Path]) -> None:
    staged = EXITS.replace("{kind}", kind).replace("return None", "import mxnet; return mxnet.gluon.nn.Dense(1)")
    single = EXITS.replace("{kind}", kind).replace("input_fn, predict_fn, output_fn", "transform_fn, *_")
    found: list[object] = []

    def ask() -> None:
        """In a thread of its own, as Ctrl-C is the user's in the main thread."""
        handler = load_handler(model(staged), program=PROGRAM)
        for name in ("input", "predict", "output"):
            found.extend(handler.answer_many([Request(name.encode(), "x", "output" if name == "output" else "x")]))
        handler = load_handler(model(single, name="single"), program=PROGRAM)
        found.extend(handler.answer_many([Request(b"input", "x", "x"), Request(b"input", "x", "x")]))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    names = ["input_fn", "predict_fn", "output_fn", "transform_fn", "transform_fn"]
    assert len(found) == len(names)
    for error, name in zip(found, names):
        assert isinstance(error, RuntimeError)  # of that request, not of the model
        assert f"{PROGRAM}.py:5: {name} failed: {kind.partition('(')[0]}" in str(error)


@pytest.mark.parametrize("name", ["model_fn", "pre_model_fn"])
def test_a_hook_that_would_end_the_process_at_its_start_is_an_error(name: str, model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=rf"{PROGRAM}\.py:3: {name} failed: SystemExit: 1$"):
        load_handler(
            model(f"import sys\ndef {name}(model_dir):\n    sys.exit(1)\ndef transform_fn(*all): pass\n"),
            program=PROGRAM,
        )


def test_ctrl_c_in_a_hook_is_the_users(model: Callable[..., Path]) -> None:
    handler = load_handler(
        model("def model_fn(model_dir): pass\ndef transform_fn(*all):\n    raise KeyboardInterrupt\n"), program=PROGRAM
    )
    with pytest.raises(KeyboardInterrupt):
        handler.answer(b"x", "x")
