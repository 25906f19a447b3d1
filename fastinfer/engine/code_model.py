"""A model whose own code answers: the engine knows it by its place and by what its files say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ModelError
from ..models.choice import Choice, refuse_choice
from ..models.code import DEFAULT_PROGRAM, PROGRAM_VARIABLE, program_name, read_code
from ..models.files import CODE
from ..models.load import is_onnx, is_onnx_model, load_any_model
from ..models.module import Model, load_url
from ..options import Options, path_of
from ..storage.places import plain_place
from ..storage.regular import open_regular
from ..storage.uri import from_here, is_url

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..models.choice import ChoiceKeywords
    from ..models.load import AnyModel

PIECE_BYTES = 1 << 20


class CodeModel(NamedTuple):
    """A model with serving code.

    Attributes:
        path: its folder or archive, absolute, as its code may change the working folder; ``code/`` is at the top of it.
        digest: SHA-256 over all its files: the same digest means the same answers, as far as the code depends on nothing else.
    """

    path: str
    digest: str

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from others: its digest, and which of its modules serves by the environment of now."""
        return {"model": self.digest, "program": program_name()}


def find_code_model(path: str | os.PathLike[str]) -> CodeModel:
    """The model of a folder or an archive; nothing of it is loaded or run. Raises ModelError."""
    import hashlib  # late: most models are run without code

    source = Path(path)
    content = hashlib.sha256()
    files = [source]
    if source.is_dir():
        files = sorted(each for each in source.rglob("*") if each.is_file() and each.suffix != ".pyc")
    try:
        for file in files:
            name = os.fsencode(file.relative_to(source))
            content.update(len(name).to_bytes(8, "little") + name + file.stat().st_size.to_bytes(8, "little"))
            with open_regular(file) as opened:
                while piece := opened.read(PIECE_BYTES):
                    content.update(piece)
    except FileNotFoundError as error:
        raise ModelError("no such model", code="model_missing", path=str(path)) from error
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", path=str(path)) from error
    return CodeModel(from_here(str(path)), content.hexdigest())


def choose_served(
    model: str | os.PathLike[str] | AnyModel, options: Options, **choice: Unpack[ChoiceKeywords]
) -> AnyModel | CodeModel:
    """What answers in a run: the model, or its own code. Which functions the code defines is read; nothing of it is run.

    Args:
        model: its folder or archive, or one that is loaded.
        options: of the run; ``code`` says what is done with hooks.
        choice: what a model's files leave open; see :func:`fastinfer.load_model`.

    Raises:
        ModelError: ``has_code`` where hooks are there and the options do not say what is done with them; ``no_program`` where
            nothing says which module serves; and what :func:`fastinfer.load_model` raises.
        ConfigError: something is said that its files leave open, but its own code answers.
    """
    if is_onnx_model(model):
        return model
    if isinstance(model, Model):
        choice = model.choice.keywords
    place = plain_place(model.path if isinstance(model, Model) else path_of(model, "model"))
    if is_url(place):
        if isinstance(model, Model) and (options.code == "ignore" or not model.has_code):
            return model
        return load_url(place, lambda local: choose_served(local, options, **choice), keep=True)
    path = Path(place)
    has_none = options.code == "ignore" or not path.exists() or is_onnx(path)
    code = None if has_none else read_code(path)
    if code is None or not code.hooks:
        return model if isinstance(model, Model) else load_any_model(path, **choice)
    module, hooks = next(iter(code.hooks.items()))
    where = f"{code.folder}{CODE}/{module}"
    if options.code is None:
        raise ModelError(
            f"the model has code of its own: {where} defines {', '.join(hooks)}, which SageMaker's container calls",
            code="has_code",
            path=str(path),
            hint="say whether it is run or ignored",
        )
    if code.program is None:
        raise ModelError(
            f"nothing says which module serves; {', '.join(code.hooks)} define hooks",
            code="no_program",
            path=str(path),
            hint=f"name it by ${PROGRAM_VARIABLE}, or save it as {DEFAULT_PROGRAM}",
        )
    if code.folder and not path.is_dir():
        raise ModelError(
            f"{code.folder}{CODE}/ is not at the top of the archive",
            code="no_program",
            path=str(path),
            hint="pack it again",
        )
    refuse_choice(Choice(**choice), where)
    return find_code_model(path / code.folder)
