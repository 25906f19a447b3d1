"""Writes the kept inputs of the targets: `python -m tests.fuzz.make_corpus`. Small real files of every form."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
from backports import zstd
from PIL import Image

from fastinfer.engine.request import TransformRequest
from fastinfer.errors import InputError
from fastinfer.export.certificate import PROBE, Rows
from fastinfer.export.convert import export_model
from fastinfer.models.module import load_model
from fastinfer.options import Options
from fastinfer.outputs.label import Label
from fastinfer.outputs.layout import OutputLayout
from fastinfer.outputs.rejects import Reject
from fastinfer.records.spans import Span, whole
from fastinfer.records.split import MAGIC
from fastinfer.runtimes.base import DenseLayers
from fastinfer.runtimes.probe_cache import PROBE as VERSION
from fastinfer.runtimes.probe_cache import Found, cached
from fastinfer.storage import journal
from fastinfer.storage.label_log import LabelLog
from fastinfer.storage.local import LocalStore
from tests import networks
from tests.fuzz.targets import CORPUS, RUN, report_input
from tests.networks import mx
from tests.outputs.results import item
from tests.runs import transform


def row_values(model: Path) -> int:
    return load_model(model).row_values


def onnx_branches() -> bytes:
    """A graph within a graph, a function, and an input that is a parameter."""
    helper = onnx.helper
    value = helper.make_tensor("v", 1, [2], [1.0, 2.0])
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["w"], value=value)],
        "inner",
        [],
        [helper.make_tensor_value_info("w", 1, [2])],
    )
    nodes = [helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)]
    inputs = [helper.make_tensor_value_info("x", 1, ["n", 2]), helper.make_tensor_value_info("v", 1, [2])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("w", 1, [2])], [value])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "f", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opsets[:1])
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[function]).SerializeToString())


def keep(target: str, name: str, content: bytes) -> None:
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    (CORPUS / target / name).write_bytes(content)


def tar(form: int, *names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("code")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 5 * len(name)
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return stream.getvalue()[: 512 * 30]


def two_classes() -> tuple[Any, tuple[int, ...]]:
    """Several operators that give more than one output, reshape or select."""
    data = mx.sym.var("data")
    left, right = mx.sym.split(data, num_outputs=2, axis=1)
    joined = mx.sym.Concat(
        mx.sym.reshape(left, shape=(0, -1)), mx.sym.transpose(right, axes=(0, 2, 1)).flatten(), dim=1
    )
    positive = mx.sym.where(joined > 0, joined, mx.sym.zeros_like(joined))
    return mx.sym.softmax(mx.sym.FullyConnected(positive, num_hidden=2)), (4, 6)


def recurrent() -> tuple[Any, tuple[int, ...]]:
    """An LSTM over the pixels of a row."""
    steps = mx.sym.transpose(mx.sym.var("data"), axes=(1, 0, 2))
    states = [mx.sym.zeros(shape=(1, 1, 3)) for _ in range(2)]
    layer = mx.sym.RNN(steps, mx.sym.var("rnn"), *states, mode="lstm", state_size=3, num_layers=1)
    return mx.sym.flatten(mx.sym.transpose(layer, axes=(1, 0, 2))), (2, 3)


def run_folder() -> None:
    """What a run of ``RUN`` leaves in its folder if it is killed, where labels go to a log."""
    layout = OutputLayout("", RUN)
    source = item("a.csv")
    with tempfile.TemporaryDirectory() as root:
        error = InputError("expected a number", code="expected_number", line=3, column=5)
        span = Span(source._replace(size=40), 0, 20, 1)
        rejects = [Reject.of_record(RUN, each, error, b"x,\xff", (5, 8)) for each in (whole(source), span)]
        rejects.append(Reject.of_object(RUN, source, error))
        lines = [reject.encode() for reject in rejects]
        journals = {name: str(Path(root, layout.hidden(name))) for name in ("rejects-1-2", "labels-1-2")}
        journal.append(journals["rejects-1-2"], lines)
        log = LabelLog(LocalStore(), root, "_labels.log", layout.hidden("labels-"))
        for key in ("a.csv.out", "s/b.csv.out"):
            log.add("1-2", [(str(Path(root, key)), 7, Label(bytes.fromhex(RUN), 1, source.version).pack())])
        record = {"run": RUN, "replaced": ["1" * 16], "depends_on": {"model": "abc"}}
        kept = {
            "run_record": ("_run.json", json.dumps(record).encode()),
            "rejects": ("_rejects.jsonl", b"".join(line + b"\n" for line in lines)),
            "label_log": ("_labels.log", Path(journals["labels-1-2"]).read_bytes()),
        }
        for target, name in (("reject_journal", "rejects-1-2"), ("label_journal", "labels-1-2")):
            kept[target] = (layout.hidden(name), Path(journals[name]).read_bytes())
    for target, (name, content) in kept.items():
        keep(target, "one", content)
        keep("run_folder", name, content)
    keep("run_folder", "a.csv.out", b"[[1.0]]")


def main() -> None:
    run_folder()
    formats = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
    for name, form in formats.items():
        content = tar(form, "model-symbol.json", "code/inference.py", *([] if name == "ustar" else ["é/" + "n" * 120]))
        keep("tar", name, content)
        keep("archive", name, content)
    keep("archive", "gzip", gzip.compress(content, mtime=0))
    keep("archive", "gzip_parts", gzip.compress(content[:700], mtime=0) + gzip.compress(content[700:], mtime=0))
    keep("archive", "bzip2", bz2.compress(content))
    keep("archive", "xz", lzma.compress(content))
    every: list[Callable[[], tuple[Any, tuple[int, ...]]]]
    every = [networks.linear, networks.scalar, networks.segmentation, networks.convolution, two_classes, recurrent]
    for network in every:
        name = network.__name__
        symbol, row_shape = network()
        keep("graph", name, symbol.tojson().encode())
        keep("graph_models", name, json.dumps({"symbol": symbol.tojson(), "row_shape": row_shape}).encode())
    with tempfile.TemporaryDirectory() as folder:
        for network in (networks.linear, networks.scalar):
            model = networks.save(network, Path(folder, network.__name__))
            files = [
                (model / each).read_bytes() for each in ("model-symbol.json", "model-0000.params", "model-shapes.json")
            ]
            for suffix, parts in (("", files), ("_without_shapes", [*files[:2], b""])):
                keep(
                    "model", network.__name__ + suffix, b"".join(struct.pack("<I", len(each)) + each for each in parts)
                )
            keep("params", network.__name__, files[1])
            exported = export_model(
                load_model(model), "model.onnx", Rows(PROBE, np.ones((2, row_values(model)), np.float32))
            )
            assert exported.certificate is not None
            keep("onnx", network.__name__, exported.onnx.content)
            keep("certificate", network.__name__, exported.certificate.as_text().encode())
        types = {f"arg:{dtype}": mx.nd.ones((2, 3), dtype=dtype) for dtype in ("float64", "float16", "int8", "int64")}
        mx.nd.save(str(Path(folder, "types")), types)
        keep("params", "types", Path(folder, "types").read_bytes())
    old = struct.pack("<QQQIIIiii", 0x112, 0, 1, 2, 2, 3, 1, 0, 0) + bytes(24)
    keep("onnx", "branches", onnx_branches())
    keep("params", "oldest", old + struct.pack("<QQ", 1, 5) + b"arg:a")
    for name, text in {
        "rows": "[[1, 2], [3.5, -4e-3]]",
        "deep": "[[[[1], [2]]], [[[3], [4]]]]",
        "large": "[100000000000000000000000000000, 1]",
        "words": '[true, null, NaN, {"instances": [1, "a"]}]',
        "one": "1",
        "exact": "[[9007199254740993, -0], [1e39, 0.1e-50]]",
    }.items():
        keep("json", name, text.encode())
    keep("jsonlines", "rows", b"[1, 2, 3, 4]\n\n[[5, 6], [7.5, 8e1]]\r\n")
    keep("jsonlines", "words", b'[1, 2, 3, true]\n{"features": [1]}\n[12345678901234567890, 1, 2, 3]\n')
    for content in (b"", b"1,2\n" * 50, bytes(range(256)) * 4):
        checked = {zstd.CompressionParameter.checksum_flag: 1}
        keep("gzip", str(len(content)), gzip.compress(content, mtime=0) + gzip.compress(b"3,4\n", mtime=0))
        keep(
            "zstd",
            str(len(content)),
            zstd.compress(content, options=checked) + zstd.compress(b"3,4\n", options=checked),
        )
    with tempfile.TemporaryDirectory() as folder:
        writer = mx.recordio.MXRecordIO(f"{folder}/x.rec", "w")
        for content in (b"abc", MAGIC, b"", b"abcd" + MAGIC + MAGIC + b"e", b"x" * 40):
            writer.write(content)
        writer.close()
        keep("recordio", "some", Path(folder, "x.rec").read_bytes())
    keep("lines", "all_ends", b"1,2\n\n 3\r\n4\r5,6\r\n\r\n7")
    keep("lines", "old_ends", b"1,2\r\r 3\r4")
    keep("csv", "rows", b"1,2,3,4\n5,6,7,8\n")
    keep("csv", "spaces", b" 1.5e3 ,\t-2,+3,4\r\n")
    for kind in ("<f4", ">i8", "?", "<f2"):
        for version in ((1, 0), (2, 0)):
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.arange(8).reshape(2, 2, 2).astype(kind), version=version)
            keep("npy", f"{kind[-2:].strip('?') or 'bool'}_{version[0]}", stream.getvalue())
    for name, text in {
        "all": "$\t$\n1,2,3\n4,5,6\n",
        "range": "$[1:]\t$[0,-1]\nid,2,3\n\nid2,5, 6\nid3,1\n",
        "several": "$[0, 2:-1]\t$[:2, *, -2]\n1,,3,4,5\n6,7,8,9,0",
        "document": """$.a['b', "c"][0,1:]\t$\n{"a": {"b": [1, 2, 3], "c": [4, [5]]}, "d": null}""",
    }.items():
        keep("filters", name, text.encode())
    places = {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": "s3://b/in"}}
    job = {
        "TransformJobName": "j", "ModelName": "m", "BatchStrategy": "MultiRecord", "MaxPayloadInMB": 6,
        "MaxConcurrentTransforms": 2, "Environment": {"A": "b"}, "Tags": [{"Key": "k", "Value": "v"}],
        "TransformInput": {"DataSource": places, "ContentType": "text/csv", "SplitType": "Line", "CompressionType": "Gzip"},
        "TransformOutput": {"S3OutputPath": "s3://b/out", "Accept": "text/csv", "AssembleWith": "Line", "KmsKeyId": ""},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        "DataProcessing": {"InputFilter": "$[1:]", "OutputFilter": "$[0,-1]", "JoinSource": "Input"},
    }  # fmt: skip
    keep("job", "whole", json.dumps(job).encode())
    keep("manifest", "prefix", b'[{"prefix": "s3://b/in/"}, "a.csv", "sub/b.csv"]')
    keep("manifest", "names", b'["a.csv", "/x/b.csv", "file:///c.csv"]')
    keep("manifest", "lines", b"a.csv\r\n\n  ./sub//b.csv\n")
    keep("idx", "images", struct.pack(">4I", 0x803, 3, 2, 2) + bytes(range(12)))
    keep("idx", "labels", struct.pack(">2I", 0x801, 5) + bytes(5))
    keep("idx", "packed", gzip.compress(struct.pack(">2I", 0x801, 5) + bytes(5), mtime=0))
    keep_checkpoints()
    keep_images()
    keep_results()
    keep_reports()
    keep_facts()


def keep_images() -> None:
    """Pictures of every kind that Pillow converts: grey, colours, a palette, with transparency, of 16 bits, turned by EXIF."""
    pixels = Image.fromarray(np.arange(0, 240, 5, np.uint8).reshape(4, 4, 3))
    for mode in ("L", "RGB", "P", "RGBA", "1", "LA"):
        stream = io.BytesIO()
        pixels.convert(mode).save(stream, "PNG")
        keep("image", f"png_{mode}", stream.getvalue())
    stream = io.BytesIO()
    Image.fromarray(np.arange(0, 64000, 4000, np.uint16).reshape(4, 4)).save(stream, "PNG")
    keep("image", "png_16", stream.getvalue())
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, options in (("baseline", {}), ("progressive", {"progressive": True}), ("turned", {"exif": turned})):
        stream = io.BytesIO()
        pixels.save(stream, "JPEG", **options)
        keep("image", f"jpeg_{name}", stream.getvalue())
    stream = io.BytesIO()
    pixels.convert("CMYK").save(stream, "JPEG")
    keep("image", "jpeg_CMYK", stream.getvalue())


def keep_results() -> None:
    """Results as runs write them."""
    array = np.array([[0.25, 0.75], [1, 0]])
    stream = io.BytesIO()
    np.save(stream, array)
    named = io.BytesIO()
    np.save(named, np.array([(0.5, [1, 2])], [("a", "<f8"), ("b", "<f8", 2)]))
    keep("results", "json", b"[[0.25, 0.75], null, [1.0, 0.0]]")
    keep("results", "json_names", b'[{"a": [0.25], "b": [[1.0, 2.0]]}, {"a": [0.5], "b": [[3.0, 4.0]]}]')
    keep("results", "json_joined", b'{"instances": [1], "SageMakerOutput": [[0.25, 0.75]]}')
    keep("results", "lines", b"[0.25, 0.75]\nnull\n[1.0, 0.0]\n")
    keep("results", "csv", b"0.25,0.75\nnull\n1.0,0.0\n")
    keep("results", "npy", stream.getvalue() + b"\n" + stream.getvalue())
    keep("results", "npy_names", named.getvalue())


def keep_reports() -> None:
    """What runs write of themselves, whole, and as far as reports read it with their results."""
    requests: dict[str, dict[str, Any]] = {
        "json": {},
        "csv": {"accept": "text/csv"},
        "npy": {"accept": "application/x-npy"},
        "joined": {"join_source": "input", "output_filter": "$[0, -1]", "split_type": "line", "assemble_with": "line"},
        "filtered": {"join_source": "input", "input_filter": "$[1:]", "output_filter": "$[1:]"},
        "id": {"id_column": 0, "label_column": 1, "header": "skip"},
        "of_json": {"content_type": "application/json", "accept": "application/jsonlines"},
    }
    with tempfile.TemporaryDirectory() as root:
        model, out = networks.save(networks.linear, Path(root, "model")), Path(root, "out")
        for name, request in requests.items():
            source = Path(root, "a.csv")
            source.write_bytes(report_input(json.dumps(request).encode()))
            transform(model, source, out, Options(overwrite=True), request=TransformRequest(**request))
            record = json.loads((out / "_run.json").read_text())
            kept = {
                key: record[key] for key in ("row_shape", "prediction_values", "options", "request") if key in record
            }
            of_machine = [key for key in record["depends_on"] if key.startswith("cpu")]
            record["depends_on"] = {k: v for k, v in record["depends_on"].items() if k not in (*of_machine, "source")}
            record["depends_on"]["source"], record["model_path"] = "a.csv", "model"
            del record["summary"]
            keep("verify", name, json.dumps(record).encode())
            keep("report", name, json.dumps(kept).encode() + b"\n" + (out / "a.csv.out").read_bytes())


def keep_facts() -> None:
    """What a run says of itself in a lease, and what the probe has found for a model, and for one that it cannot use."""
    facts = {"machine": "m", "process": 1, "started": "5", "world": "w 1", "renewal": 3, "lease_s": 60.0}
    keep("lease", "one", json.dumps(facts).encode())
    for name, answer in (("sizes", Found((16, 128), (1e-3, 5e-3), DenseLayers(16, chained=True))), ("none", None)):
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}):
            cached({"model": "abc"}, lambda answer=answer: answer)
            (path,) = Path(folder).rglob("*.json")
            keep("probe_cache", name, path.read_bytes().replace(b'"probe": %d' % VERSION, b'"probe": 0'))


def keep_checkpoints() -> None:
    """A set of the smallest network that passes for one: its states and its record are changed."""
    data = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2)
    with tempfile.TemporaryDirectory() as folder:
        from fastinfer.mnist.checkpoint import save_checkpoint

        settings = {"batch_size": 100, "rows": 650, "hosts": 1, "seed": 7, "learning_rate": 0.1}
        states = pickle.dumps(dict.fromkeys(range(6)), 4)
        save_checkpoint(
            Path(folder),
            1,
            data.save,
            lambda path: mx.nd.save(path, {"arg:fullyconnected0_bias": mx.nd.ones(2)}),
            lambda path: Path(path).write_bytes(states),
            settings,
        )
        for path in Path(folder).iterdir():
            keep("checkpoint_set", path.name, path.read_bytes())
        keep("checkpoint_record", "whole", Path(folder, "mnist-0001.json").read_bytes())
        begun = json.dumps({"epoch": 1, "settings": settings, "sha256": None}).encode()
        keep("checkpoint_record", "begun", begun)
    for protocol in (0, 2, 4):
        keep("checkpoint_states", f"protocol{protocol}", pickle.dumps(dict.fromkeys(range(6)), protocol))


if __name__ == "__main__":
    main()
