"""The operators that a model's graph may have, and the attributes with which MXNet would end the process.

A list of what is allowed, made from all that MXNet 1.9.1 has, because some of the others take a number in the graph for the
address of code (`_Native`, `_NDArray`, `_CachedOp`), run Python (`Custom`), read files (`_cvimread`) or go where their
attributes say in the arrays of a graph inside the graph (`_foreach`, `_cond`, `_while_loop`, `_sg_mkldnn_*`). Left out
as well is what cannot be part of a saved Module's inference (updates of optimizers, gradients, NumPy's operators, sparse
storage, assignment), and a few that end the process, or never end, on some input whatever their attributes. The rules for
attributes were found by tests/fuzz.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from ..errors import quote

# MXNet makes as many outputs or inputs as these say, or multiplies them, before it looks at anything else.
COUNTS = {"num_outputs", "num_args", "num_arrays", "block_size"}
COUNT_LIMIT = 10_000
# It divides by these.
DIVISORS = {"num_group", "num_groups", "num_filter", "kernel_size", "stride1", "stride2"}
INTEGER_LIMIT = 2**31 - 1

_NAMES = """
Activation BatchNorm BatchNorm_v1 BilinearSampler BlockGrad CTCLoss Cast Concat Convolution Convolution_v1 Correlation
Crop Deconvolution Dropout ElementWiseSum Embedding Flatten FullyConnected GridGenerator GroupNorm InstanceNorm
L2Normalization LRN LayerNorm LeakyReLU LinearRegressionOutput LogisticRegressionOutput MAERegressionOutput MakeLoss Pad
Pooling Pooling_v1 RNN ROIPooling Reshape SVMOutput SequenceLast SequenceMask SequenceReverse SliceChannel Softmax
SoftmaxActivation SoftmaxOutput SpatialTransformer SwapAxis UpSampling abs add_n arccos arccosh arcsin arcsinh arctan
arctanh argmax argmax_channel argmin argsort batch_dot batch_take broadcast_add broadcast_axes broadcast_axis
broadcast_div broadcast_equal broadcast_greater broadcast_greater_equal broadcast_hypot broadcast_lesser
broadcast_lesser_equal broadcast_like broadcast_logical_and broadcast_logical_or broadcast_logical_xor broadcast_maximum
broadcast_minimum broadcast_minus broadcast_mod broadcast_mul broadcast_not_equal broadcast_plus broadcast_power
broadcast_sub broadcast_to cast cbrt ceil choose_element_0index clip col2im concat cos cosh crop ctc_loss cumsum degrees
depth_to_space diag dot elemwise_add elemwise_div elemwise_mul elemwise_sub erf erfinv exp expand_dims expm1
fill_element_0index fix flatten flip floor gamma gammaln gather_nd hard_sigmoid identity im2col khatri_rao linalg_det
linalg_extractdiag linalg_extracttrian linalg_gelqf linalg_gemm linalg_gemm2 linalg_inverse linalg_makediag
linalg_maketrian linalg_potrf linalg_potri linalg_slogdet linalg_sumlogdiag linalg_syrk linalg_trmm linalg_trsm log
log10 log1p log2 log_softmax logical_not make_loss max max_axis mean min min_axis moments nanprod nansum negative norm
normal one_hot ones_like pad pick prod radians random_exponential random_normal random_randint random_uniform rcbrt
reciprocal relu repeat reshape reshape_like reverse rint round rsqrt sample_exponential sample_normal sample_uniform
scatter_nd shape_array shuffle sigmoid sign sin sinh size_array slice slice_axis slice_like smooth_l1 softmax
softmax_cross_entropy softmin softsign sort space_to_depth split sqrt square squeeze stack stop_gradient sum sum_axis
swapaxes take tan tanh tile topk transpose trunc uniform where zeros_like
_Div _DivScalar _Equal _EqualScalar _Greater _GreaterEqualScalar _GreaterScalar _Greater_Equal _Hypot _HypotScalar
_Lesser _LesserEqualScalar _LesserScalar _Lesser_Equal _LogicalAndScalar _LogicalOrScalar _LogicalXorScalar _Logical_And
_Logical_Or _Logical_Xor _Maximum _MaximumScalar _Minimum _MinimumScalar _Minus _MinusScalar _Mod _ModScalar _Mul
_MulScalar _NotEqualScalar _Not_Equal _Plus _PlusScalar _Power _PowerScalar _RDivScalar _RMinusScalar _RModScalar
_RPowerScalar _add _arange _contrib_AdaptiveAvgPooling2D _contrib_BatchNormWithReLU _contrib_BilinearResize2D
_contrib_CTCLoss _contrib_MultiBoxDetection _contrib_MultiBoxPrior _contrib_ROIAlign _contrib_SyncBatchNorm
_contrib_allclose _contrib_arange_like _contrib_bipartite_matching _contrib_box_decode _contrib_box_iou _contrib_box_nms
_contrib_box_non_maximum_suppression _contrib_ctc_loss _contrib_div_sqrt_dim _contrib_fft _contrib_gradientmultiplier
_contrib_ifft _contrib_index_array _contrib_interleaved_matmul_encdec_qk _contrib_interleaved_matmul_encdec_valatt
_contrib_interleaved_matmul_selfatt_qk _contrib_interleaved_matmul_selfatt_valatt _contrib_quadratic _contrib_round_ste
_contrib_sign_ste _copy _div _div_scalar _equal _equal_scalar _eye _full _grad_add _greater _greater_equal
_greater_equal_scalar _greater_scalar _hypot _hypot_scalar _lesser _lesser_equal _lesser_equal_scalar _lesser_scalar
_linalg_det _linalg_extractdiag _linalg_extracttrian _linalg_gelqf _linalg_gemm _linalg_gemm2 _linalg_inverse
_linalg_makediag _linalg_maketrian _linalg_potrf _linalg_potri _linalg_slogdet _linalg_sumlogdiag _linalg_syevd
_linalg_syrk _linalg_trmm _linalg_trsm _linspace _logical_and _logical_and_scalar _logical_or _logical_or_scalar
_logical_xor _logical_xor_scalar _maximum _maximum_scalar _minimum _minimum_scalar _minus _minus_scalar _mod _mod_scalar
_mul _mul_scalar _not_equal _not_equal_scalar _np_cumsum _ones _plus _plus_scalar _power _power_scalar
_random_exponential _random_exponential_like _random_normal _random_normal_like _random_randint _random_uniform
_random_uniform_like _rdiv_scalar _rminus_scalar _rmod_scalar _rnn_param_concat _rpower_scalar _sample_exponential
_sample_normal _sample_uniform _shuffle _split_v2 _square_sum _sub _zeros _zeros_without_dtype
_contrib_dequantize _contrib_quantize _contrib_quantize_v2 _contrib_quantized_act _contrib_quantized_batch_norm
_contrib_quantized_concat _contrib_quantized_conv _contrib_quantized_elemwise_add _contrib_quantized_elemwise_mul
_contrib_quantized_embedding _contrib_quantized_flatten _contrib_quantized_fully_connected _contrib_quantized_pooling
_contrib_requantize amp_cast amp_multicast
"""
OPERATORS = frozenset(_NAMES.split())
# Each pass draws numbers anew; a Dropout does so in inference if its mode is "always".
SAMPLERS = frozenset(
    name
    for name in OPERATORS
    if name.startswith(("random_", "sample_", "_random_", "_sample_"))
    or name in ("normal", "uniform", "shuffle", "_shuffle")
)

# What MXNet calls the outputs of these; those of others are numbered, where there are several.
_OUTPUTS = {
    "LeakyReLU": ("output", "mask"),
    "RNN": ("output", "state_output", "statecell_output"),
    "make_loss": ("loss",),
}
_OUTPUTS.update((name, ("output", "mean", "var")) for name in OPERATORS if "BatchNorm" in name)
_OUTPUTS.update((name, ("output", "mean", "std")) for name in ("LayerNorm", "GroupNorm"))
_OUTPUTS.update((name, ("output", "min_output", "max_output")) for name in OPERATORS if "_quantized_" in name)
# Of these even the first has a number, also where the others are only for MXNet's own use.
_NUMBERED = {
    *("CTCLoss", "ctc_loss", "_contrib_CTCLoss", "_contrib_ctc_loss", "SliceChannel", "split", "moments", "sort"),
    *("_contrib_box_nms", "_contrib_box_non_maximum_suppression", "_contrib_bipartite_matching", "_linalg_syevd"),
    *("_contrib_quantize", "_contrib_quantize_v2", "_contrib_requantize"),
    *(f"{prefix}linalg_{name}" for prefix in ("", "_") for name in ("det", "gelqf", "slogdet")),
}


def name_output(operator: str, attributes: Mapping[str, str], number: int) -> str:
    """What MXNet calls an output of an operator, behind the name of its node."""
    names = _OUTPUTS.get(operator, ())
    if number < len(names):
        return names[number]
    is_numbered = number or operator in _NUMBERED
    if operator == "_split_v2":
        sections, *_ = *_numbers(attributes.get("sections", "")), 0
        is_numbered = (sections if sections > 0 else len(_numbers(attributes.get("indices", "")))) != 1
    elif operator == "amp_multicast":
        is_numbered = attributes.get("num_outputs") != "1"
    elif operator == "topk":
        is_numbered = attributes.get("ret_typ") in ("value", "both")
    return f"output{number}" if is_numbered else "output"


def find_wrong(operator: str, attributes: Mapping[str, str]) -> str | None:
    """What is wrong with the attributes of an operator; None for what is left to MXNet."""
    for limit, group in ((COUNT_LIMIT, COUNTS), (INTEGER_LIMIT, DIVISORS)):
        for name in sorted(group & attributes.keys()):
            if not _is_between(1, attributes[name], limit):
                return f"its {name} is {quote(attributes[name])}, not a number from 1 to {limit:,}"
    has_indices = re.search("[0-9]", attributes.get("indices", "")) is not None
    if operator == "_split_v2" and not has_indices and not _is_between(1, attributes.get("sections", "0"), COUNT_LIMIT):
        return "it splits into no parts"
    if operator == "UpSampling" and attributes.get("sample_type") == "bilinear" and "num_filter" not in attributes:
        return "it has no num_filter"
    if operator == "transpose":
        axes = _numbers(attributes.get("axes", ""))
        if sorted(axes) != list(range(len(axes))):
            return f"its axes are {quote(attributes['axes'])}"
    if operator in ("Reshape", "reshape"):
        sizes = _numbers(attributes.get("shape", ""))
        read = sizes[::-1] if attributes.get("reverse") in ("True", "1") else sizes
        # Of the two parts of a size that -4 splits, one is inferred by a division by the other.
        if any({-1, 0} == set(read[place + 1 : place + 3]) for place, size in enumerate(read) if size == -4):
            return f"its shape is {quote(attributes['shape'])}"
        # -1 to -4 have a meaning; MXNet divides by the product of the others.
        if any(size < -4 for size in sizes) or math.prod(size for size in sizes if size > 0) > INTEGER_LIMIT:
            return f"its shape is {quote(attributes['shape'])}"
    return None


def is_random(operator: str, attributes: Mapping[str, str]) -> bool:
    """Whether an operator gives other values each time, by design."""
    return operator in SAMPLERS or (operator == "Dropout" and attributes.get("mode") == "always")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall("-?[0-9]{1,20}", text)]


def _is_between(least: int, text: str, most: int) -> bool:
    return re.fullmatch("[0-9]{1,10}", text) is not None and least <= int(text) <= most
