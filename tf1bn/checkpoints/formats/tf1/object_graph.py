"""The names that variables had in the program, from the graph of objects in an object-based checkpoint.

`tf.train.Checkpoint` files variables under the path of attributes that leads to them. The graph, a
TrackableObjectGraph (see trackable_object_graph.proto of TensorFlow) as a scalar string, has both names of each.
"""

import collections

from ....binary.protobuf import BYTES, message, repeated, varint
from .crc32c import crc32c, masked

KEY = b"_CHECKPOINTABLE_OBJECT_GRAPH"
_CHECKSUM_BYTES = 4


def scalar_string(data, checksum):
    """The bytes of a scalar string tensor as a bundle stores it: length, checksum of the length, bytes."""
    size, at = varint(data, 0)
    text = data[at + _CHECKSUM_BYTES :]
    length = size.to_bytes(4 if size < 1 << 32 else 8, "little")
    if size != len(text) or masked(crc32c(length + data[at : at + _CHECKSUM_BYTES] + text)) != checksum:
        raise ValueError("its graph of objects is not whole")
    return text


def names_in_the_program(graph):
    """The name of each variable by its key in the checkpoint; empty where the names do not tell all variables apart."""
    names = {}
    for node in repeated(graph, 1):
        for attribute in repeated(node, 2):
            values = message(attribute, {2: BYTES, 3: BYTES})
            if name := values.get(2):
                names[values.get(3, b"")] = name
    names = {key: name for key, name in names.items() if b"/.OPTIMIZER_SLOT/" not in key}
    several = any(count > 1 for count in collections.Counter(names.values()).values())
    return {} if several else names
