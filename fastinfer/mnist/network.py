"""The notebook's network (784-128-64-10, relu, softmax), and how a trained one is saved: as SageMaker's training does."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..models.files import MODEL_FILES, PARAMS_NAME, SHAPES_NAME, SYMBOL_NAME
from ..runtimes.mxnet.libmxnet import first_line
from ..storage.atomic import make_folder, replacing

# The example's own constants: ten digits, and the two hidden layers of the notebook. Other networks are trained with
# mxnet itself; fastinfer runs any saved Module.
CLASSES = 10
HIDDEN = (128, 64)


def build_network(mx: Any) -> Any:
    """The notebook's network, with the names that mxnet gives it in a new process."""
    layer = mx.sym.flatten(mx.sym.var("data"), name="flatten0")
    for number, units in enumerate(HIDDEN):
        layer = mx.sym.FullyConnected(layer, num_hidden=units, name=f"fullyconnected{number}")
        layer = mx.sym.Activation(layer, act_type="relu", name=f"activation{number}")
    layer = mx.sym.FullyConnected(layer, num_hidden=CLASSES, name=f"fullyconnected{len(HIDDEN)}")
    return mx.sym.SoftmaxOutput(layer, name="softmax")


def save_model(mx: Any, module: Any, folder: Path, tar: Path | None) -> None:
    """Writes the three files of a bound Module into a folder, and packs them if `tar` names a file.

    Raises:
        OutputError: ``cannot_write``.
    """
    arguments, auxiliary = module.get_params()
    shapes = [{"name": data.name, "shape": list(data.shape)} for data in module.data_shapes]
    symbol_path, params_path, shapes_path = folder / SYMBOL_NAME, folder / PARAMS_NAME, folder / SHAPES_NAME
    # All three are written before the first takes its name.
    with replacing(symbol_path) as symbol_file, replacing(params_path) as params_file, replacing(shapes_path) as file:
        save_symbol(mx, str(symbol_file), module.symbol)
        save_params(mx, str(params_file), arguments, auxiliary)
        file.write_text(json.dumps(shapes))
    if tar is not None:
        pack_model(folder, tar)


def pack_model(folder: Path, tar: Path) -> None:
    """Packs a model's three files as SageMaker does; the same files always give the same bytes.

    Raises:
        OutputError: ``cannot_write``.
    """
    make_folder(tar.parent)

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o644
        return member

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in MODEL_FILES:
            archive.add(folder / name, name, filter=anonymous)
    with replacing(tar) as temporary:
        temporary.write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def save_symbol(mx: Any, path: str, symbol: Any) -> None:
    """Writes a graph. Raises OutputError."""
    try:
        symbol.save(path)
    except mx.MXNetError as error:
        raise OutputError(f"the network cannot be written: {first_line(error)}", path=path) from error


def save_params(mx: Any, path: str, arguments: dict[str, Any], auxiliary: dict[str, Any]) -> None:
    """Writes the parameters and reads them back. Raises OutputError."""
    arrays = {f"arg:{name}": array.as_in_context(mx.cpu()) for name, array in arguments.items()}
    arrays.update({f"aux:{name}": array.as_in_context(mx.cpu()) for name, array in auxiliary.items()})
    try:
        mx.nd.save(path, arrays)
        # mxnet does not report a disk that is full.
        written = mx.nd.load(path)
    except mx.MXNetError as error:
        raise OutputError(f"the parameters cannot be written: {first_line(error)}", path=path) from error
    if any((written[name].asnumpy() != array.asnumpy()).any() for name, array in arrays.items()):
        raise OutputError("the parameters were not written whole", path=path)
