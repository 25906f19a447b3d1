"""A user's serving module, by the rules of SageMaker's MXNet container.

A model's folder may hold ``code/``, and ``$SAGEMAKER_PROGRAM`` names the module in it: ``model_fn(model_dir)`` loads the
model; ``transform_fn(model, data, content_type, accept)`` answers a request, or ``input_fn(data, content_type)`` (which gets
the model as well where it has a parameter of that name), ``predict_fn(data, model)`` and ``output_fn(prediction, accept)``
do so in turn. JSON and CSV reach them as text, all else as a bytearray. What the module leaves out is done as the container's
defaults do it. The rules were read from, and are tested beside, sagemaker-inference 1.6.1 with sagemaker-mxnet-inference
1.5.5; where this differs from them:

- ``model_fn`` is called once; there a first time to see what kind of model it gives.
- A Module that is bound at more than one row answers every row; there rows are lost.
- The content type of a default answer is the one that was chosen; there it is the whole Accept header.
- Without a program and without ``code/`` the defaults answer; there a module must be found.
"""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from ..codecs.content_types import CSV, JSON
from ..codecs.json import encode_json_value
from ..errors import ModelError
from ..models.module import CODE, find_model
from ..runtimes.mxnet.library import INFERENCE_SETTINGS, load_mxnet
from ..storage.archive import read_members, unpack
from .defaults import (
    block_input,
    block_output,
    block_predict,
    is_module,
    load_module,
    module_input,
    module_output,
    module_predict,
)
from .predictor import Predictor
from .request import Answer, Request, unwrap
from .user_module import find_program, import_module, on_path, program_error

ACCEPT_VARIABLE = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"

STAGES = ("input_fn", "predict_fn", "output_fn")
HOOKS = ("model_fn", "transform_fn", *STAGES, "pre_model_fn", "model_warmup_fn")

TEXT_TYPES = (CSV, JSON)


class Handler:
    """Answers requests: by a user's hooks, or by a :class:`fastinfer.Predictor` where there are none.

    Made by :func:`load_handler`. May be used by several threads at a time; hooks run one after the
    other, in the whole process.

    Attributes:
        has_hooks: whether a user's module answers.
        program: the module's file, None without one.
        predictor: what answers where there are no hooks, else None.
    """

    def __init__(
        self,
        code: Path,
        program: Path | None,
        predictor: Predictor | None,
        transform: Callable[[Any, str | None, str], Any] | None,
        unpacked: str | None = None,
    ) -> None:
        self.program = program
        self._code = code
        self.predictor = predictor
        self.has_hooks = predictor is None
        self._transform = transform
        self._default_accept = os.environ.get(ACCEPT_VARIABLE) or JSON
        if unpacked is not None:
            # An archive's folder is there as long as the handler is.
            weakref.finalize(self, shutil.rmtree, unpacked, ignore_errors=True)

    def answer(self, body: bytes, content_type: str | None, accept: str | None = None) -> tuple[bytes, str]:
        """The answer to a request, and its content type.

        Args:
            body: the request's body.
            content_type: what the sender says that it is.
            accept: what the sender takes; None, an empty string and ``*/*`` stand for
                ``$SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT`` as it was when the handler was made, else for JSON.

        Raises:
            InputError: see :meth:`fastinfer.Predictor.answer`.
            Exception: whatever a hook raises; UnicodeDecodeError where a text type is not UTF-8; TypeError where a hook
                gives what is neither text, bytes nor JSON.
        """
        return unwrap(self.answer_many([Request(body, content_type, accept)]))

    def answer_many(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """The answers to several requests, in order; an error takes the place of an answer. See :meth:`answer`.

        Without hooks the requests share batches; hooks answer them one after the other.
        """
        requests = [request._replace(accept=self._accepted(request.accept)) for request in requests]
        if self.predictor is not None:
            return self.predictor.answer_many(requests)
        return [self._answer_by_hooks(request) for request in requests]

    def _answer_by_hooks(self, request: Request) -> Answer | Exception:
        assert self._transform is not None
        body, content_type, accept = request
        assert accept is not None
        try:
            content = body.encode() if isinstance(body, str) else body
            data = content.decode("utf-8") if content_type in TEXT_TYPES else bytearray(content)
            with on_path(self._code):
                result = self._transform(data, content_type, accept)
            if isinstance(result, tuple):
                result, accept = result[0], result[1]
            return Answer(_as_bytes(result), accept)
        except Exception as error:
            return error

    def _accepted(self, accept: str | None) -> str:
        """What a request's Accept header means."""
        return self._default_accept if not accept or accept == "*/*" else accept


def load_handler(
    model_dir: str | os.PathLike[str] | None = None,
    *,
    program: str | None = None,
    exact: bool = True,
    batch_size: int | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> Handler:
    """Loads a model and its serving module.

    Args:
        model_dir: folder or tar archive of a model, as SageMaker lays it out; None: as :class:`fastinfer.Predictor` does.
        program: the module's name below ``code/``, with or without ``.py``; None: ``$SAGEMAKER_PROGRAM``, else
            ``inference.py`` if there is one; an empty string: none.
        exact, batch_size, device, threads: of the :class:`fastinfer.Predictor` that answers where there are no hooks.

    Raises:
        ModelError: ``no_program`` where the module is not there, or ``code/`` is and names none; ``bad_program`` where it
            cannot be imported, has both kinds of hooks, or its ``model_fn`` fails or gives what the container refuses;
            and what :class:`fastinfer.Predictor` raises.
        ConfigError: an option cannot be.
    """
    path = Path(os.path.abspath(find_model(model_dir)[0]))
    options = {"exact": exact, "batch_size": batch_size, "device": device, "threads": threads}
    if not (path.is_file() and _archive_has_code(path)):
        return _load(path, program, options, None)
    unpacked = tempfile.mkdtemp(prefix="fastinfer-model-")
    try:
        unpack(path, Path(unpacked))
        return _load(Path(unpacked), program, options, unpacked)
    except BaseException:
        shutil.rmtree(unpacked, ignore_errors=True)
        raise


def _load(path: Path, program: str | None, options: dict[str, Any], unpacked: str | None) -> Handler:
    file, code = find_program(path, program), path / CODE
    hooks: dict[str, Any] = {}
    if file is not None:
        load_mxnet(INFERENCE_SETTINGS)  # before the module imports it: with the settings, and beside a newer NumPy
        module = import_module(file, code)
        hooks = {name: getattr(module, name) for name in HOOKS if getattr(module, name, None) is not None}

    def make_predictor() -> Predictor:
        return Predictor(path, **options)

    if not hooks:
        return Handler(code, file, make_predictor(), None, unpacked)
    assert file is not None  # hooks come from it
    with on_path(code):
        transform = _transform_of(hooks, path, file, make_predictor)
    return Handler(code, file, None, transform, unpacked)


def _transform_of(
    hooks: dict[str, Any], model_dir: Path, file: Path, make_predictor: Callable[[], Predictor]
) -> Callable[[Any, str | None, str], Any]:
    """What answers a request: the module's hooks, with the container's defaults in the gaps."""
    staged = [name for name in STAGES if name in hooks]
    if "transform_fn" in hooks and staged:
        raise ModelError(
            f"transform_fn goes with none of input_fn, predict_fn and output_fn, found {', '.join(staged)} beside it",
            code="bad_program",
            path=str(file),
        )
    _call(hooks.get("pre_model_fn"), "pre_model_fn", file, str(model_dir))
    if not {"model_fn", "model_warmup_fn", "transform_fn", "input_fn", "predict_fn"} & hooks.keys():
        return _with_predictor(make_predictor(), hooks.get("output_fn", module_output))

    model_fn = hooks.get("model_fn")
    model = _call(model_fn, "model_fn", file, str(model_dir)) if model_fn else load_module(model_dir)
    # A transform_fn takes a model of any kind.
    has_module = "transform_fn" not in hooks and is_module(model, file)
    _call(hooks.get("model_warmup_fn"), "model_warmup_fn", file, str(model_dir), model)

    if "transform_fn" in hooks:
        transform_fn = hooks["transform_fn"]
        return lambda data, content_type, accept: transform_fn(model, data, content_type, accept)

    input_fn = hooks.get("input_fn", module_input if has_module else block_input)
    predict_fn = hooks.get("predict_fn", module_predict if has_module else block_predict)
    output_fn = hooks.get("output_fn", module_output if has_module else block_output)
    # Only a Module's input_fn is given the model.
    takes_model = has_module and "model" in inspect.getfullargspec(input_fn).args

    def transform(data: Any, content_type: str | None, accept: str) -> Any:
        decoded = input_fn(data, content_type, model) if takes_model else input_fn(data, content_type)
        return output_fn(predict_fn(decoded, model), accept)

    return transform


def _call(hook: Any, name: str, file: Path, *arguments: Any) -> Any:
    """Calls a hook that a module need not have; at start-up, what it raises is the model's fault."""
    if hook is None:
        return None
    try:
        return hook(*arguments)
    except Exception as error:
        raise program_error(error, f"{name} failed", file) from error


def _with_predictor(predictor: Predictor, output_fn: Any) -> Callable[[Any, str | None, str], Any]:
    """Where only the output is the user's: the predictor does what comes before."""
    mxnet = load_mxnet()

    def transform(data: Any, content_type: str | None, accept: str) -> Any:
        predictions = predictor.predict(predictor.decode(data, content_type or ""))
        return output_fn(mxnet.nd.array(predictions), accept)

    return transform


def _as_bytes(result: Any) -> bytes:
    """What a hook gave, as the container's server sends it."""
    if isinstance(result, (bytes, bytearray)):
        return bytes(result)
    if isinstance(result, str):
        return result.encode("utf-8")
    return encode_json_value(result)


def _archive_has_code(archive: Path) -> bool:
    try:
        return any(member.name.startswith(f"{CODE}/") for member in read_members(archive))
    except ModelError:
        return False  # whoever loads it says what is wrong
