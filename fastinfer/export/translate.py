"""A network to an ONNX model: each operator by its translation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, quote
from .arrays import ARRAYS
from .call import Call, Translation, Untranslatable
from .choices import CHOICES
from .elementwise import ELEMENTWISE
from .graph_writer import GraphWriter
from .layers import LAYERS
from .network import Entry, Network, Node
from .sequences import SEQUENCES
from .vision import VISION

# By MXNet's own names, to which aliases are resolved.
TRANSLATIONS: dict[str, Translation] = {**LAYERS, **ELEMENTWISE, **ARRAYS, **CHOICES, **SEQUENCES, **VISION}

DESCRIPTION = "exported by fastinfer"


@dataclass(frozen=True)
class Translated:
    """A network in ONNX.

    Attributes:
        network: what was translated.
        writer: the ONNX graph.
        names: where the values of the network are in it.
    """

    network: Network
    writer: GraphWriter
    names: Mapping[Entry, str]

    def build(self, entries: Iterable[Entry] | None = None, metadata: Mapping[str, str] | None = None) -> bytes:
        """The ONNX model, as its file.

        Args:
            entries: what it gives; None: the outputs of the network, by their names. For others, numbers are the names.
            metadata: what is written into it.
        """
        if entries is None:
            named = list(zip(self.network.heads, self.network.head_names))
        else:
            named = [(entry, f"value {number}") for number, entry in enumerate(entries)]
        outputs = []
        for entry, name in named:
            value = self.network.value(entry)
            outputs.append((self.names[entry], name, value.shape, value.dtype))
        model = self.writer.build(outputs, description=DESCRIPTION, metadata=dict(metadata or {}))
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def translate(network: Network, arrays: Mapping[str, NDArray[Any]], path: str) -> Translated:
    """Translates a network.

    Args:
        network: what is translated.
        arrays: the saved parameters, by their names.
        path: of the model, for messages.

    Raises:
        ModelError: ``no_translation`` for an operator that has none, with its node.
    """
    writer = GraphWriter()
    names: dict[Entry, str] = {}
    for number in network.inputs:  # first, so that they are in the model's order
        node = network.nodes[number]
        names[number, 0] = writer.add_input(node.name, node.outputs[0].shape, node.outputs[0].dtype)
    for number, node in enumerate(network.nodes):
        if number not in network.live or (number, 0) in names:
            continue
        found = (
            _variable(node, writer, arrays)
            if node.operator == "null"
            else _operator(network, number, writer, names, path)
        )
        names.update({(number, output): name for output, name in enumerate(found)})
    missing = [entry for entry in network.heads if entry not in names]
    if missing:
        node, output = network.nodes[missing[0][0]], missing[0][1]
        raise _refused(node, path, f"its output {output} is used")
    return Translated(network, writer, names)


def _variable(node: Node, writer: GraphWriter, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """A parameter; or zeros, for a state that is not saved."""
    (value,) = node.outputs
    if node.name in arrays:
        # MXNet converts what is saved to the type that the graph has there.
        return [writer.constant(arrays[node.name], value.dtype, name=node.name)]
    zero = writer.constant(np.zeros([1] * len(value.shape), value.dtype))
    return writer.emit(node.name, "Expand", zero, writer.shape(value.shape))


def _operator(network: Network, number: int, writer: GraphWriter, names: Mapping[Entry, str], path: str) -> list[str]:
    node = network.nodes[number]
    translation = TRANSLATIONS.get(node.operator)
    if translation is None:
        raise _refused(node, path, "there is no translation of this operator")
    for source, output in node.inference_inputs:
        if (source, output) not in names:
            raise _refused(network.nodes[source], path, f"its output {output} is used")
    try:
        found = translation(Call(network, number, writer, names))
    except Untranslatable as error:
        raise _refused(node, path, str(error)) from error
    except (KeyError, ValueError) as error:
        raise _refused(node, path, f"its attributes cannot be read: {error}") from error
    return [found] if isinstance(found, str) else found


def _refused(node: Node, path: str, why: str) -> ModelError:
    hint = "replace the operator by others; docs/onnx.md lists those that are translated"
    if "quantize" in node.operator:
        hint = "export the model as it was before it was quantized"
    return ModelError(
        f"{quote(node.name)} ({node.operator}) cannot be written as ONNX: {why}",
        code="no_translation",
        path=path,
        hint=hint,
    )
