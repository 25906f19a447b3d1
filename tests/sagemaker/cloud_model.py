"""What a request to SageMaker must look like: every constraint of botocore's service model.

A client checks names, types and a few lengths before it sends; the service checks patterns, lengths, ranges and enumerations
as well. This is the service's side, so that a request which AWS would refuse is refused here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape

NUMBERS = {"integer": int, "long": int, "float": (int, float), "double": (int, float), "timestamp": (int, float)}


@functools.cache
def service() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")


def operation(name: str) -> OperationModel:
    """An operation by its API name.

    Raises:
        KeyError: there is none.
    """
    if name not in service().operation_names:
        raise KeyError(name)
    return service().operation_model(name)


def violations(shape: Shape, value: Any, place: str = "") -> Iterator[str]:
    """Every constraint that a value breaks, as the service words it."""
    kind = shape.type_name
    if kind == "structure":
        yield from _structure(shape, value, place)
    elif kind == "list":
        if isinstance(value, list):
            yield from _length(shape, len(value), value, place)
            for number, item in enumerate(value, start=1):
                yield from violations(shape.member, item, f"{place}.{number}.member")
        else:
            yield _wrong_type(place, kind, value)
    elif kind == "map":
        if isinstance(value, dict):
            yield from _length(shape, len(value), value, place)
            for key, item in value.items():
                yield from violations(shape.key, key, f"{place}.{key}.key")
                yield from violations(shape.value, item, f"{place}.{key}.member")
        else:
            yield _wrong_type(place, kind, value)
    elif kind in ("string", "blob"):
        if isinstance(value, str):
            yield from _string(shape, value, place)
        else:
            yield _wrong_type(place, kind, value)
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield _wrong_type(place, kind, value)
    elif isinstance(value, bool) or not isinstance(value, NUMBERS[kind]):
        yield _wrong_type(place, kind, value)
    else:
        smallest, largest = shape.metadata.get("min"), shape.metadata.get("max")
        if smallest is not None and value < smallest:
            yield _failed(place, value, f"Member must have value greater than or equal to {smallest}")
        if largest is not None and value > largest:
            yield _failed(place, value, f"Member must have value less than or equal to {largest}")


def _structure(shape: Shape, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _wrong_type(place, "structure", value)
        return
    for name in shape.required_members:
        if value.get(name) is None:
            yield _failed(_below(place, name), None, "Member must not be null")
    for name, item in value.items():
        if name not in shape.members:
            yield f"Unknown parameter at '{_below(place, name)}'"
        elif item is None:
            yield f"Null at '{_below(place, name)}'"
        else:
            yield from violations(shape.members[name], item, _below(place, name))


def _string(shape: Shape, value: str, place: str) -> Iterator[str]:
    yield from _length(shape, len(value), value, place)
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield _failed(place, value, f"Member must satisfy enum value set: [{', '.join(allowed)}]")
    pattern = shape.metadata.get("pattern")
    if pattern and not matches(pattern, value):
        yield _failed(place, value, f"Member must satisfy regular expression pattern: {pattern}")


def matches(pattern: str, value: str) -> bool:
    """Whether the whole of a value is what a pattern of the model allows."""
    return _compiled(pattern).fullmatch(value) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    if r"\p{L}" in pattern:
        # A letter, as Python can say it: a word character that is neither digit nor underscore.
        pattern = re.sub(r"\[((?:\\.|[^\]\\])*)\]", lambda match: f"(?:[{_without(match[1])}]|[^\\W\\d_])", pattern)
    pattern = pattern.replace(r"\p{Alnum}", "A-Za-z0-9")
    if r"\p{" in pattern:
        raise NotImplementedError(f"a pattern of Java that is not translated: {pattern}")
    return re.compile(pattern)


def _without(brackets: str) -> str:
    return brackets.replace(r"\p{L}", "").replace(r"\p{Z}", r"\s").replace(r"\p{N}", r"\d")


def _length(shape: Shape, length: int, value: Any, place: str) -> Iterator[str]:
    smallest, largest = shape.metadata.get("min"), shape.metadata.get("max")
    if smallest is not None and length < smallest:
        yield _failed(place, value, f"Member must have length greater than or equal to {smallest}")
    if largest is not None and length > largest:
        yield _failed(place, value, f"Member must have length less than or equal to {largest}")


def _below(place: str, name: str) -> str:
    # The service names members as Java does.
    name = name[:1].lower() + name[1:]
    return f"{place}.{name}" if place else name


def _failed(place: str, value: Any, constraint: str) -> str:
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{place}' failed to satisfy constraint: {constraint}"


def _wrong_type(place: str, kind: str, value: Any) -> str:
    return f"Expected {kind} at '{place}', found {type(value).__name__}"
