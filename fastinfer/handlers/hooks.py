"""Requests answered by a user's serving module, by the rules of SageMaker's MXNet container.

A model's folder may hold ``code/``, and ``$SAGEMAKER_PROGRAM`` names the module in it. ``model_fn(model_dir)`` loads the
model. ``transform_fn(model, data, content_type, accept)`` answers a request, or three functions do so in turn:
``input_fn(data, content_type)`` (which also gets the model if it has a parameter of that name), ``predict_fn(data, model)``
and ``output_fn(prediction, accept)``. JSON and CSV reach them as text, everything else as a bytearray. The container's
defaults do what the module leaves out. The rules were read from sagemaker-inference 1.6.1 with sagemaker-mxnet-inference
1.5.5, and are tested beside them. The differences:

- ``model_fn`` is called once; the container calls it a first time to see what kind of model it returns.
- A Module that is bound at more than one row answers every row; the container loses rows.
- The content type of a default answer is the one that was chosen; the container sends the whole Accept header.
- Without a program and without ``code/`` the defaults answer; the container must find a module.
"""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..codecs.content_types import CSV, JSON
from ..codecs.json import encode_json_value
from ..errors import ModelError, escape, quote, said
from ..models.choice import Choice, ChoiceKeywords, refuse_choice
from ..models.code import STAGES
from ..models.files import CODE
from ..models.load import load_any_model
from ..models.module import Model, find_model, load_model
from ..options import accepts_any, default_accept
from ..runtimes.mxnet.library import load_mxnet
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
from .predictor import Predictor, PredictorKeywords
from .request import Answer, Request, unwrap
from .user_module import UserModule, is_users_interrupt, load_user_module, on_path, program_error

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..models.load import AnyModel

TEXT_TYPES = (CSV, JSON)

# The hooks that are called for each request.
ANSWERING = ("transform_fn", *STAGES)


# A function that answers a request: from data, content type and accepted type to what a hook may return.
Transform = Callable[[Any, Optional[str], str], Any]


class Handler:
    """Answers requests: by a user's hooks, or by a :class:`fastinfer.Predictor` where there are none.

    Made by :func:`load_handler`. May be used by several threads at a time; hooks run one after the other, in the whole
    process.

    Attributes:
        module: the user's module, None without one; it may have no hooks.
        predictor: answers if there are no hooks; else None.
    """

    def __init__(
        self, module: UserModule | None, *, predictor: Predictor | None = None, transform: Transform | None = None
    ) -> None:
        self.module = module
        self.predictor = predictor
        self._transform = transform
        self._default_accept = default_accept() or JSON

    @property
    def has_hooks(self) -> bool:
        """Whether a user's hooks answer."""
        return self.predictor is None

    def answer(self, body: bytes, content_type: str | None, accept: str | None = None) -> tuple[bytes, str]:
        """The answer to a request, and its content type.

        Args:
            body: the request's body.
            content_type: of the body, as the sender names it.
            accept: what the answer may be; None, an empty string and ``*/*`` mean
                ``$SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT`` as it was when the handler was made, else JSON.

        Raises:
            InputError: see :meth:`fastinfer.Predictor.answer`.
            Exception: whatever a hook raises, RuntimeError for what would end the process; UnicodeDecodeError if a text type
                is not UTF-8; TypeError if a hook returns something other than text, bytes or JSON; ValueError if its content
                type is none.
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
        assert self.module is not None
        assert self._transform is not None
        body, content_type, accept = request
        assert accept is not None
        try:
            content = body.encode() if isinstance(body, str) else body
            data = content.decode("utf-8") if content_type in TEXT_TYPES else bytearray(content)
            with on_path(self.module.code):
                result = self._transform(data, content_type, accept)
            if isinstance(result, tuple):
                result, accept = result[0], result[1]
            return Answer(_as_bytes(result), _as_content_type(accept))
        except Exception as error:
            return error
        except BaseException as error:  # as of what hooks returned, while it is printed
            if is_users_interrupt(error):
                raise
            return _ended("the answer", error, self.module.file)

    def _accepted(self, accept: str | None) -> str:
        """The content types that a request accepts."""
        return self._default_accept if accepts_any(accept) else str(accept)


def load_handler(
    model_dir: str | os.PathLike[str] | None = None,
    *,
    program: str | None = None,
    choice: ChoiceKeywords | None = None,
    **settings: Unpack[PredictorKeywords],
) -> Handler:
    """Loads a model and its serving module.

    Args:
        model_dir: folder or tar archive of a model, as SageMaker lays it out; None: as :class:`fastinfer.Predictor` does.
        program: the module's name; see :func:`.user_module.load_user_module`.
        choice: what the model's files leave open; see :func:`fastinfer.load_model`.
        settings: of the :class:`fastinfer.Predictor` that answers without hooks.

    Raises:
        ModelError: what :func:`.user_module.load_user_module` and :func:`make_handler` raise; ``unsafe_archive``.
        ConfigError: an option is wrong.
        TypeError: there is no such setting, also where hooks answer, which use none.
    """
    # Where hooks answer, no Predictor is made that would refuse it.
    for name in settings.keys() - PredictorKeywords.__annotations__.keys():
        raise TypeError(f"load_handler() got an unexpected keyword argument {name!r}")
    path = Path(os.path.abspath(find_model(model_dir)[0]))

    def load(folder: Path) -> Handler:
        return make_handler(folder, load_user_module(folder, program), choice, **settings)

    if not (path.is_file() and _archive_has_code(path)):
        return load(path)
    unpacked = Path(tempfile.mkdtemp(prefix="fastinfer-model-"))
    try:
        unpack(path, unpacked)
        handler = load(unpacked)
    except BaseException:
        shutil.rmtree(unpacked, ignore_errors=True)
        raise
    # Hooks may read the folder as long as the handler exists.
    weakref.finalize(handler, shutil.rmtree, unpacked, ignore_errors=True)
    return handler


def make_handler(
    model_dir: Path,
    module: UserModule | None,
    choice: ChoiceKeywords | None = None,
    **settings: Unpack[PredictorKeywords],
) -> Handler:
    """The handler of a model whose module is loaded; it loads the model.

    Args:
        model_dir: the model's folder, or an archive without ``code/``.
        module: the user's module; None: there is none.
        choice, settings: see :func:`load_handler`.

    Raises:
        ModelError: ``bad_program`` if the module has both kinds of hooks, or its ``model_fn`` fails or returns what the
            container does not accept; and what :class:`fastinfer.Predictor` raises.
        ConfigError: an option is wrong, or `choice` says something about a model that ``model_fn`` loads.
    """

    def load() -> Model:
        return load_model(model_dir, **(choice or {}))

    def make_predictor() -> Predictor:
        return Predictor(load_any_model(model_dir, **(choice or {})), **settings)

    if module is None or not module.hooks:
        return Handler(module, predictor=make_predictor())
    if "model_fn" in module.hooks:
        refuse_choice(Choice(**(choice or {})), str(module.file))
    with on_path(module.code):
        return Handler(module, transform=_transform_of(module, model_dir, load, make_predictor))


def make_predictor_handler(model: AnyModel, **settings: Unpack[PredictorKeywords]) -> Handler:
    """The handler of a loaded model without code; `settings` are those of :class:`fastinfer.Predictor`."""
    return Handler(None, predictor=Predictor(model, **settings))


def _transform_of(
    module: UserModule, model_dir: Path, load: Callable[[], Model], make_predictor: Callable[[], Predictor]
) -> Transform:
    """The module's hooks in their order, with the container's defaults in the gaps."""
    file = module.file
    hooks = {name: _no_exit(hook, name, file) if name in ANSWERING else hook for name, hook in module.hooks.items()}
    staged = [name for name in STAGES if name in hooks]
    if "transform_fn" in hooks and staged:
        raise ModelError(
            f"expected transform_fn or {', '.join(STAGES)}, not both kinds; found transform_fn and {', '.join(staged)}",
            code="bad_program",
            path=str(file),
        )
    _call(hooks.get("pre_model_fn"), "pre_model_fn", file, str(model_dir))
    if not {"model_fn", "model_warmup_fn", "transform_fn", "input_fn", "predict_fn"} & hooks.keys():
        return _with_predictor(make_predictor(), hooks.get("output_fn", module_output))

    model_fn = hooks.get("model_fn")
    model = _call(model_fn, "model_fn", file, str(model_dir)) if model_fn else load_module(load())
    # A transform_fn accepts a model of any kind.
    has_module = "transform_fn" not in hooks and is_module(model, file)
    _call(hooks.get("model_warmup_fn"), "model_warmup_fn", file, str(model_dir), model)

    if "transform_fn" in hooks:
        transform_fn = hooks["transform_fn"]
        return lambda data, content_type, accept: transform_fn(model, data, content_type, accept)

    input_fn: Callable[..., Any] = hooks.get("input_fn", module_input if has_module else block_input)
    predict_fn: Callable[..., Any] = hooks.get("predict_fn", module_predict if has_module else block_predict)
    output_fn: Callable[..., Any] = hooks.get("output_fn", module_output if has_module else block_output)
    # Only a Module's input_fn is given the model.
    takes_model = has_module and "model" in inspect.getfullargspec(module.hooks.get("input_fn", module_input)).args

    def transform(data: Any, content_type: str | None, accept: str) -> Any:
        decoded = input_fn(data, content_type, model) if takes_model else input_fn(data, content_type)
        return output_fn(predict_fn(decoded, model), accept)

    return transform


def _no_exit(hook: Callable[..., Any], name: str, file: Path) -> Callable[..., Any]:
    """A hook that cannot end the thread that calls it: sys.exit() becomes an error of that request; other exceptions stay
    what they are."""

    def call(*arguments: Any) -> Any:
        try:
            return hook(*arguments)
        except Exception:
            raise
        except BaseException as error:
            if is_users_interrupt(error):
                raise
            raise _ended(name, error, file) from error

    return call


def _ended(name: str, error: BaseException, file: Path) -> Exception:
    """What stands for an exception that would end the thread. No ModelError: other requests may be answered."""
    ended = RuntimeError(str(program_error(error, f"{name} failed", file)))
    ended.__cause__ = error
    return ended


def _call(hook: Any, name: str, file: Path, *arguments: Any) -> Any:
    """Calls a hook at start-up, if the module has it; an exception becomes a ModelError."""
    if hook is None:
        return None
    try:
        return hook(*arguments)
    except BaseException as error:
        if is_users_interrupt(error):
            raise
        raise program_error(error, f"{name} failed", file) from error


def _with_predictor(predictor: Predictor, output_fn: Any) -> Transform:
    """If only the output is the user's: the predictor does everything before it."""
    mxnet = load_mxnet()

    def transform(data: Any, content_type: str | None, accept: str) -> Any:
        predictions = predictor.predict(predictor.decode(data, content_type))
        return output_fn(mxnet.nd.array(predictions), accept)

    return transform


def _as_bytes(result: Any) -> bytes:
    """What a hook returned, as SageMaker's model server sends it."""
    if isinstance(result, (bytes, bytearray)):
        return bytes(result)
    if isinstance(result, str):
        return result.encode("utf-8")
    return encode_json_value(result)


def _as_content_type(value: object) -> str:
    """The content type of an answer, that a hook may have chosen. Raises ValueError if it is none that can be sent."""
    # Control characters, also 127 and those from 128 to 159, end a header or are refused by clients.
    if isinstance(value, str) and value.isprintable() and all(ord(each) < 256 for each in value):
        return value
    found = quote(value) if isinstance(value, str) else f"{escape(said(value))} ({type(value).__name__})"
    raise ValueError(f"no answer can have the content type {found}")


def _archive_has_code(archive: Path) -> bool:
    try:
        return any(member.name.startswith(f"{CODE}/") for member in read_members(archive))
    except ModelError:
        return False  # loading it reports what is wrong
