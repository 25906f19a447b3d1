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

import contextlib
import importlib
import importlib.util
import inspect
import json
import os
import shutil
import sys
import tempfile
import traceback
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

from ..codecs.content_types import CSV, JSON, NPY, choose_accepted, decode_rows, encode_predictions
from ..codecs.json import encode_json_value
from ..errors import ModelError
from ..models.module import CODE, DEFAULT_PROGRAM, MODEL_FILES, PROGRAM_VARIABLE, SHAPES_NAME, find_model
from ..runtimes.mxnet.graph import binding
from ..runtimes.mxnet.library import INFERENCE_SETTINGS, first_line, load_mxnet
from ..storage.archive import read_members, unpack
from .predictor import Predictor
from .request import Answer, Request, unwrap

ACCEPT_VARIABLE = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"

STAGES = ("input_fn", "predict_fn", "output_fn")
HOOKS = ("model_fn", "transform_fn", *STAGES, "pre_model_fn", "model_warmup_fn")

TEXT_TYPES = (CSV, JSON)

# What each kind of model takes and gives by default.
BLOCK_TYPES = (JSON, NPY)

# Code folders of the handlers made so far: the names of their modules are taken anew by the next handler.
_code_folders: set[str] = set()


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
            with _on_path(self._code):
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
        module = _import(file, code)
        hooks = {name: getattr(module, name) for name in HOOKS if getattr(module, name, None) is not None}

    def make_predictor() -> Predictor:
        return Predictor(path, **options)

    if not hooks:
        return Handler(code, file, make_predictor(), None, unpacked)
    assert file is not None  # hooks come from it
    with _on_path(code):
        transform = _transform_of(hooks, path, file, make_predictor)
    return Handler(code, file, None, transform, unpacked)


def find_program(model_dir: Path, program: str | None = None) -> Path | None:
    """The file of a model's serving module; None where there is none. See :func:`load_handler`."""
    code = model_dir / CODE
    if program is None:
        program = os.environ.get(PROGRAM_VARIABLE)
        if not program and _module_file(code, DEFAULT_PROGRAM):
            program = DEFAULT_PROGRAM
        if not program and code.is_dir() and any(code.glob("*.py")):
            raise ModelError(
                f"there is a {CODE}/ folder, and ${PROGRAM_VARIABLE} does not say which module of it serves",
                code="no_program",
                path=str(model_dir),
                hint="name it; or say that none does, with an empty name",
            )
    if not program:
        return None
    file = _module_file(code, program)
    if file is None:
        raise ModelError(f"there is no {CODE}/{program}", code="no_program", path=str(model_dir))
    return file


def _archive_has_code(archive: Path) -> bool:
    try:
        return any(member.name.startswith(f"{CODE}/") for member in read_members(archive))
    except ModelError:
        return False  # whoever loads it says what is wrong


def _module_file(code: Path, program: str) -> Path | None:
    """The file of a module or package in a code folder."""
    name = program[:-3] if program.endswith(".py") else program
    place = code.joinpath(*name.split("."))
    for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None


@contextlib.contextmanager
def _on_path(code: Path) -> Iterator[None]:
    """The module's own folder comes first on sys.path, also for what is imported late; hooks may bind, so none else does."""
    with binding:
        sys.path.insert(0, str(code))
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(str(code))


def _import(file: Path, code: Path) -> ModuleType:
    """Imports a user's module from its file, anew."""
    with _on_path(code):
        _code_folders.add(str(code))
        for name, module in list(sys.modules.items()):
            # Of another model, or of this one before: same names, other code.
            place = getattr(module, "__file__", None)
            if place and any(place.startswith(folder + os.sep) for folder in _code_folders):
                del sys.modules[name]
        importlib.invalidate_caches()
        parts = file.relative_to(code).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the model's folder is left as it is
        try:
            if "." in name:
                return importlib.import_module(name)
            # By its file, not by its name: a module of that name may be there that is none of the user's.
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None  # of a .py file
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(name, module)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                if sys.modules.get(name) is module:
                    del sys.modules[name]
                raise
            return module
        except (Exception, SystemExit) as error:
            raise _failed(error, "cannot be imported", file) from error
        finally:
            sys.dont_write_bytecode = written


def _failed(error: BaseException, what: str, file: Path) -> ModelError:
    """The error that says where a user's module failed."""
    folder = str(file.parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    line = frames[-1].lineno if frames else error.lineno if isinstance(error, SyntaxError) else None
    return ModelError(
        f"{what}: {type(error).__name__}: {first_line(error) if isinstance(error, Exception) else error}",
        code="bad_program",
        path=frames[-1].filename if frames else str(file),
        line=line,
    )


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
        return _with_predictor(make_predictor(), hooks.get("output_fn", _default_output))

    model_fn = hooks.get("model_fn")
    model = _call(model_fn, "model_fn", file, str(model_dir)) if model_fn else _load_module(model_dir)
    # A transform_fn takes a model of any kind.
    is_module = "transform_fn" not in hooks and _is_module(model, file)
    _call(hooks.get("model_warmup_fn"), "model_warmup_fn", file, str(model_dir), model)

    if "transform_fn" in hooks:
        transform_fn = hooks["transform_fn"]
        return lambda data, content_type, accept: transform_fn(model, data, content_type, accept)

    input_fn = hooks.get("input_fn", _default_module_input if is_module else _default_block_input)
    predict_fn = hooks.get("predict_fn", _default_module_predict if is_module else _default_block_predict)
    output_fn = hooks.get("output_fn", _default_output if is_module else _default_block_output)
    # Only a Module's input_fn is given the model.
    takes_model = is_module and "model" in inspect.getfullargspec(input_fn).args

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
        raise _failed(error, f"{name} failed", file) from error


def _is_module(model: Any, file: Path) -> bool:
    """Whether a model is a Module, not a Gluon block: so the container tells which defaults it has."""
    mxnet = load_mxnet()
    if isinstance(model, mxnet.mod.BaseModule):
        return True
    if isinstance(model, mxnet.gluon.block.Block):
        return False
    raise ModelError(
        f"model_fn gives neither a Module nor a Gluon block, but {type(model).__name__}",
        code="bad_program",
        path=str(file),
        hint="a model of another kind needs a transform_fn",
    )


def _with_predictor(predictor: Predictor, output_fn: Any) -> Callable[[Any, str | None, str], Any]:
    """Where only the output is the user's: the predictor does what comes before."""
    mxnet = load_mxnet()

    def transform(data: Any, content_type: str | None, accept: str) -> Any:
        predictions = predictor.predict(predictor.decode(data, content_type or ""))
        return output_fn(mxnet.nd.array(predictions), accept)

    return transform


def _load_module(model_dir: Path) -> Any:
    """The saved model as the container binds it: on the CPU, at batch size 1."""
    mxnet = load_mxnet()
    missing = [name for name in MODEL_FILES if not (model_dir / name).is_file()]
    if missing:
        raise ModelError(f"the model lacks {', '.join(missing)}", code="model_missing", path=str(model_dir))
    try:
        inputs = [
            (each["name"], (1, *each["shape"][1:]))
            for each in json.loads((model_dir / SHAPES_NAME).read_text(encoding="utf-8"))
        ]
        symbol, arguments, auxiliary = mxnet.model.load_checkpoint(str(model_dir / "model"), 0)
        module = mxnet.mod.Module(
            symbol=symbol, context=mxnet.cpu(), data_names=[name for name, _ in inputs], label_names=None
        )
        module.bind(for_training=False, data_shapes=inputs)
        module.set_params(arguments, auxiliary, allow_missing=True)
    except (mxnet.base.MXNetError, ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
        raise ModelError(f"MXNet cannot load it: {first_line(error)}", path=str(model_dir)) from error
    return module


def _default_module_input(data: Any, content_type: str | None, model: Any) -> Any:
    mxnet = load_mxnet()
    ((_, shape),) = model.data_shapes
    rows = mxnet.nd.array(decode_rows(data, content_type or "", tuple(shape[1:])))
    return mxnet.io.NDArrayIter(rows, batch_size=shape[0], last_batch_handle="pad")


def _default_module_predict(data: Any, model: Any) -> Any:
    return model.predict(data)


def _default_block_input(data: Any, content_type: str | None) -> Any:
    # A block has no shape of its own, which CSV would need.
    return load_mxnet().nd.array(decode_rows(data, content_type or "", (), BLOCK_TYPES))


def _default_block_predict(data: Any, model: Any) -> Any:
    return model(data)


def _default_output(prediction: Any, accept: str) -> tuple[bytes, str]:
    accepted = choose_accepted(accept)
    return encode_predictions(prediction.asnumpy(), accepted), accepted


def _default_block_output(prediction: Any, accept: str) -> tuple[bytes, str]:
    accepted = choose_accepted(accept, BLOCK_TYPES)
    return encode_predictions(prediction.asnumpy(), accepted), accepted


def _as_bytes(result: Any) -> bytes:
    """What a hook gave, as the container's server sends it."""
    if isinstance(result, (bytes, bytearray)):
        return bytes(result)
    if isinstance(result, str):
        return result.encode("utf-8")
    return encode_json_value(result)
