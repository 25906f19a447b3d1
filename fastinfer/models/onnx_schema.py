"""The messages of a model in ONNX (onnx.proto), as far as they are read: the numbers and kinds of their fields."""

from __future__ import annotations

from .protobuf import BYTES, NUMBERS, VARINT, Message

# ir_version, producer_name, producer_version, graph; opset_import, metadata_props, functions
MODEL = Message("the model", once={1: VARINT, 2: BYTES, 3: BYTES, 7: BYTES}, many={8: BYTES, 14: BYTES, 25: BYTES})
OPERATORS = Message("a set of operators", once={1: BYTES, 2: VARINT})  # domain, version
ENTRY = Message("an entry of the metadata", once={1: BYTES, 2: BYTES})  # key, value
FUNCTION = Message("a function", many={7: BYTES, 11: BYTES})  # node, attribute_proto
# node, initializer, input, output, sparse_initializer
GRAPH = Message("a graph", many={1: BYTES, 5: BYTES, 11: BYTES, 12: BYTES, 15: BYTES})
# name, op_type, domain; input, output, attribute
NODE = Message("a node", once={3: BYTES, 4: BYTES, 7: BYTES}, many={1: BYTES, 2: BYTES, 5: BYTES})
# t, g, sparse_tensor; tensors, graphs, sparse_tensors
ATTRIBUTE = Message("an attribute", once={5: BYTES, 6: BYTES, 22: BYTES}, many={10: BYTES, 11: BYTES, 23: BYTES})
# data_type, name, raw_data, data_location; dims, int32_data, external_data
TENSOR = Message("a tensor", once={2: VARINT, 8: BYTES, 9: BYTES, 14: VARINT}, many={1: NUMBERS, 5: NUMBERS, 13: BYTES})
SPARSE_TENSOR = Message("a sparse tensor", once={1: BYTES, 2: BYTES}, many={3: NUMBERS})  # values, indices; dims
VALUE = Message("an input or output", once={1: BYTES, 2: BYTES})  # name, type
# tensor, sequence, map, opaque, sparse tensor, optional: one of them
TYPE = Message("a type", one_of=dict.fromkeys((1, 4, 5, 7, 8, 9), BYTES))
TENSOR_TYPE = Message("the type of a tensor", once={1: VARINT, 2: BYTES})  # elem_type, shape
SHAPE = Message("a shape", many={1: BYTES})  # dim
DIMENSION = Message("a dimension", one_of={1: VARINT, 2: BYTES})  # dim_value, dim_param
