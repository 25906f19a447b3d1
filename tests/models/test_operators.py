"""The list of operators: real ones, and none that runs code or follows addresses."""

from __future__ import annotations

import ctypes
import json
from typing import Any

import pytest

from fastinfer.errors import ModelError
from fastinfer.models.graph import choose_output, read_graph
from fastinfer.models.operators import OPERATORS, find_wrong, name_output
from fastinfer.runtimes.mxnet.libmxnet import MXNetError
from fastinfer.runtimes.mxnet.symbol import Symbol
from tests.networks import mx


def every_operator() -> set[str]:
    size, names = ctypes.c_uint(), ctypes.POINTER(ctypes.c_char_p)()
    mx.base.check_call(mx.base._LIB.MXListAllOpNames(ctypes.byref(size), ctypes.byref(names)))
    listed: list[Any] = [names[index] for index in range(size.value)]
    return {name.decode() for name in listed}


def test_every_operator_is_one_of_mxnets() -> None:
    assert sorted(OPERATORS - every_operator()) == []


def test_an_operator_is_on_the_list_under_the_name_that_mxnet_saves() -> None:
    missing = set()
    for name in OPERATORS:
        handle, saved, others = ctypes.c_void_p(), ctypes.c_char_p(), [ctypes.c_void_p() for _ in range(6)]
        mx.base.check_call(mx.base._LIB.NNGetOpHandle(name.encode(), ctypes.byref(handle)))
        mx.base.check_call(mx.base._LIB.NNGetOpInfo(handle, ctypes.byref(saved), *map(ctypes.byref, others)))
        if (saved.value or b"").decode() not in OPERATORS:
            missing.add((name, saved.value))
    assert missing == set()


def test_what_runs_code_or_follows_addresses_is_not_on_the_list() -> None:
    dangerous = {"_Native", "_NDArray", "_CachedOp", "_CachedOpThreadSafe", "_CustomFunction", "Custom", "_npi_Custom"}
    dangerous |= {"_foreach", "_while_loop", "_cond", "_cvimread", "_imdecode", "_sg_mkldnn_conv"}
    assert dangerous <= every_operator()
    assert OPERATORS & dangerous == set()
    assert [name for name in OPERATORS if "backward" in name or "update" in name] == []


@pytest.mark.parametrize(
    ("operator", "attributes", "wrong"),
    [
        ("split", {"num_outputs": "2147483647"}, "its num_outputs is '2147483647', not a number from 1 to 10,000"),
        ("Concat", {"num_args": "-1"}, "its num_args is '-1', not a number from 1 to 10,000"),
        ("depth_to_space", {"block_size": "65536"}, "its block_size is '65536', not a number from 1 to 10,000"),
        ("Convolution", {"num_group": "0"}, "its num_group is '0', not a number from 1 to 2,147,483,647"),
        ("GroupNorm", {"num_groups": "0"}, "its num_groups is '0', not a number from 1 to 2,147,483,647"),
        ("_split_v2", {"indices": "()"}, "it splits into no parts"),
        ("_split_v2", {"indices": "()", "sections": "-65536"}, "it splits into no parts"),
        ("_split_v2", {"indices": "()", "sections": "2"}, None),
        ("_split_v2", {"indices": "(0, 2)"}, None),
        ("UpSampling", {"num_args": "2", "sample_type": "bilinear"}, "it has no num_filter"),
        ("UpSampling", {"num_args": "1", "sample_type": "nearest"}, None),
        ("Reshape", {"shape": "(2,-2147483648,-1,-2,6)"}, "its shape is '(2,-2147483648,-1,-2,6)'"),
        ("Reshape", {"shape": "(65536, 65536)"}, "its shape is '(65536, 65536)'"),
        ("Reshape", {"shape": "(0, -4, -1, 2, -2)"}, None),
        ("transpose", {"axes": "(0,1,0)"}, "its axes are '(0,1,0)'"),
        ("transpose", {"axes": "(0,-1)"}, "its axes are '(0,-1)'"),
        ("transpose", {"axes": "(0,2,1)"}, None),
        ("transpose", {}, None),
        ("Correlation", {"stride2": "-1"}, "its stride2 is '-1', not a number from 1 to 2,147,483,647"),
        ("Flatten", {}, None),
    ],
)
def test_attributes_that_end_the_process_are_refused(
    operator: str, attributes: dict[str, str], wrong: str | None
) -> None:
    assert operator in OPERATORS
    assert find_wrong(operator, attributes) == wrong


def test_outputs_are_called_as_mxnet_calls_them() -> None:
    attributes: list[dict[str, str]] = [
        {},
        *({name: "1"} for name in ("num_hidden", "scalar", "axis", "threshold", "num_args", "num_outputs")),
        *({"ret_typ": kind} for kind in ("value", "indices", "mask", "both")),
        *({"mode": mode, "state_size": "2", "num_layers": "1", "state_outputs": "True"} for mode in ("lstm", "gru")),
        *({"indices": indices, "sections": "0"} for indices in ("(0, 1)", "(0,)")),
        *({"indices": "()", "sections": sections} for sections in ("1", "+2")),
        {"indices": "(0,)", "sections": "-1"},
        {"num_outputs": "3"},
        {"output_mean_var": "True"},
        {"act_type": "rrelu"},
        {"act_type": "relu", "kernel": "(1, 1)", "num_filter": "1", "num_hidden": "1"},
        {"kernel": "(1, 1)", "num_filter": "1"},
        {"kernel": "(1, 1)", "pool_type": "max"},
        {"input_dim": "2", "output_dim": "2"},
        {"act_type": "relu"},
    ]
    compared: dict[str, set[int]] = {}
    for operator in sorted(OPERATORS):
        for each in attributes:
            try:
                text = Symbol.atomic(operator, each).to_json()
                graph = read_graph(text, "x")
            except (MXNetError, ModelError):
                continue
            heads = json.loads(text)["heads"]
            for used in (heads, heads[:1]):
                text = json.dumps({**json.loads(text), "heads": used})
                names = read_graph(text, "x").outputs
                assert names == tuple(Symbol.load(read_graph(text, "x").text).outputs()), (operator, each)
                assert [choose_output(graph, name, "x").outputs for name in names] == [(name,) for name in names]
            compared.setdefault(operator, set()).add(len(heads))
    assert len(compared) > 300
    assert {operator for operator, counts in compared.items() if max(counts) > 1} >= {
        *("BatchNorm", "LayerNorm", "GroupNorm", "LeakyReLU", "RNN", "SliceChannel", "_split_v2", "topk", "moments"),
        *("_linalg_syevd", "amp_multicast", "_contrib_quantize", "_contrib_quantized_conv"),
    }


@pytest.mark.parametrize("attributes", [{}, {"sections": "x", "indices": "(0,)"}, {"indices": ""}])
def test_a_name_is_found_for_attributes_that_mxnet_refuses(attributes: dict[str, str]) -> None:
    assert name_output("_split_v2", attributes, 3) in ("output", "output3")
