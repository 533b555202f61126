"""Numbers in raw bytes, as all formats store them."""

import numpy as np


def widened(bits):
    """The bfloat16 numbers with these bits, an array of uint16, as float32, which holds every such number."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def numbers(data, dtype, big_endian=False):
    """The flat array of the numbers in ``data``, bytes; bfloat16 numbers as float32.

    Args:
      data: as many bytes as a whole number of them has.
      dtype: the name of a NumPy dtype, or "bfloat16".
      big_endian: whether the most significant byte of each comes first.
    """
    stored = np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder(">" if big_endian else "<")
    values = np.frombuffer(data, stored).astype(stored.newbyteorder("="))
    return widened(values) if dtype == "bfloat16" else values
