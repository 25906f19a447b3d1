"""What a user says about a model that its files leave open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict, TypeVar

from ..errors import ConfigError, ModelError, quote
from .params import Shape

ALL_OUTPUTS = "all"

Undecided = TypeVar("Undecided", bound=Any)


@dataclass(frozen=True)
class Choice:
    """What a user says about a model that its files leave open.

    Attributes:
        epoch: of the parameters; None: the newest, or 0 of a model that SageMaker's training saved.
        inputs: by the names of the inputs, in the order of a record, how many of its values each gets; None: the model's
            own, in its order.
        input_shape: the shape of one record; or, by the names of inputs, the shape of what each gets of it.
        output: the output to give, by its name, also one inside the graph; ``all``: each of the graph's outputs; None: the
            only one.
        allow_missing: whether parameters that are not saved are zero, as in the container; else that is an error.

    Raises:
        ConfigError: one of them has a wrong type or value.
    """

    epoch: int | None = None
    inputs: Mapping[str, int] | None = None
    input_shape: Shape | Mapping[str, Shape] | None = None
    output: str | None = None
    allow_missing: bool = False

    def __post_init__(self) -> None:
        if self.epoch is not None and not (_is_whole(self.epoch) and self.epoch >= 0):
            raise ConfigError(f"epoch must be a whole number from 0, found {self.epoch!r}")
        if self.inputs is not None and not (
            isinstance(self.inputs, Mapping)
            and self.inputs
            and all(isinstance(name, str) and _is_whole(size) and size > 0 for name, size in self.inputs.items())
        ):
            raise ConfigError(f"inputs must be names with numbers of columns, found {self.inputs!r}")
        for shape in self.shapes.values():
            if not isinstance(shape, Sequence) or not all(_is_whole(size) and size > 0 for size in shape):
                raise ConfigError(f"input_shape must be sizes from 1, such as (3, 224, 224), found {shape!r}")
        if self.output is not None and not isinstance(self.output, str):
            raise ConfigError(f"output must be a name, found {self.output!r}")
        # The record of a run has lists for tuples.
        if isinstance(self.input_shape, Mapping):
            named = {name: tuple(shape) for name, shape in self.input_shape.items()}
            object.__setattr__(self, "input_shape", named)
        elif self.input_shape is not None:
            object.__setattr__(self, "input_shape", tuple(self.input_shape))
        if self.inputs is not None:
            object.__setattr__(self, "inputs", dict(self.inputs))

    @property
    def given(self) -> list[str]:
        """The names of what is said."""
        return [each.name for each in fields(self) if getattr(self, each.name) != each.default]

    @property
    def keywords(self) -> ChoiceKeywords:
        """What is said, as :func:`load_model` takes it."""
        return {name: getattr(self, name) for name in self.given}  # type: ignore[return-value]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes by the names of inputs; the name "" stands for the only input."""
        if isinstance(self.input_shape, Mapping):
            return dict(self.input_shape)
        return {} if self.input_shape is None else {"": self.input_shape}


class ChoiceKeywords(TypedDict, total=False):
    """The attributes of :class:`Choice` as keywords, for type checkers and editors."""

    epoch: int | None
    inputs: Mapping[str, int] | None
    input_shape: Shape | Mapping[str, Shape] | None
    output: str | None
    allow_missing: bool


def refuse_choice(choice: Choice, where: str) -> None:
    """Raises ConfigError where something is said about a model that its own code loads.

    Args:
        choice: what is said.
        where: the code, for the message.
    """
    if choice.given:
        raise ConfigError(
            f"{', '.join(choice.given)}: cannot be chosen where the model's own code answers ({where})",
            hint="leave that out, or ignore the code",
        )


def decided(model: Undecided) -> Undecided:
    """The same model. Raises ModelError where something must be said first."""
    for problem in model.undecided:
        raise problem.at(path=model.path)
    return model


def said_outputs(names: Sequence[str], *, all_outputs: bool) -> str:
    """The outputs that a model gives, in words."""
    return f"{ALL_OUTPUTS}: {', '.join(names)}" if all_outputs else ", ".join(names)


def several_outputs(names: Sequence[str]) -> ModelError:
    """What must be said of a model with several outputs."""
    return ModelError(
        f"the model has {len(names)} outputs: {', '.join(names[:8])}",
        code="no_such_output",
        hint="name the output to give; all gives each, by its name",
    )


def same_name(name: str, path: str) -> ModelError:
    """What must be said where a name is that of several outputs."""
    return ModelError(
        f"several outputs have the name {quote(name)}",
        code="no_such_output",
        path=path,
        hint="give each output a name of its own, and save the model again",
    )


def check_names(names: Sequence[str], path: str) -> None:
    """Raises ModelError (``no_such_output``) where outputs cannot be told from each other by their names."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise same_name(twice, path)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
