"""The checksum CRC-32C (Castagnoli), as NumPy computes it, and the mask that TensorFlow and LevelDB put over it.

A checksum is linear over bits: that of a block is the exclusive or of what each byte contributes at its position. The
contributions are looked up for a block of bytes at once, and the blocks are joined by what a state becomes over a block
of zeros.
"""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78
_BLOCK = 256
_BLOCKS_AT_ONCE = 1024
_MASK_DELTA = 0xA282EAD8


@functools.cache
def _byte_table():
    """What the state 0 becomes over one byte, for each byte: a list of 256 ints."""
    table = []
    for state in range(256):
        for _ in range(8):
            state = (state >> 1) ^ (_POLYNOMIAL if state & 1 else 0)
        table.append(state)
    return table


@functools.cache
def _block_tables():
    """The contribution of a byte at each position of a block, flat, and how a block of zeros changes a state.

    The latter are four lists of 256 ints, for the four bytes of the state.
    """
    step = np.array(_byte_table(), np.uint32)
    contributions = np.empty((_BLOCK, 256), np.uint32)
    contributions[-1] = step
    for position in range(_BLOCK - 2, -1, -1):
        following = contributions[position + 1]
        contributions[position] = (following >> 8) ^ step[following & 255]
    # A state before a block of zeros acts as if it had been added to the first four bytes of the block.
    return contributions.ravel(), [contributions[position].tolist() for position in range(4)]


def crc32c(data):
    """The CRC-32C of bytes, as an int."""
    if len(data) < _BLOCK:
        table, state = _byte_table(), 0xFFFFFFFF
        for byte in data:
            state = (state >> 8) ^ table[(state ^ byte) & 255]
        return state ^ 0xFFFFFFFF
    contributions, (first, second, third, fourth) = _block_tables()
    # Zeros in front do not change the state 0; the true start state is then part of the first four bytes.
    padded = np.zeros(-(-len(data) // _BLOCK) * _BLOCK, np.uint8)
    start = padded.size - len(data)
    padded[start:] = np.frombuffer(data, np.uint8)
    padded[start : start + 4] ^= 0xFF
    blocks = padded.reshape(-1, _BLOCK)
    offsets = np.arange(_BLOCK) * 256
    state = 0
    for begin in range(0, len(blocks), _BLOCKS_AT_ONCE):
        looked_up = contributions[blocks[begin : begin + _BLOCKS_AT_ONCE] + offsets]
        for block in np.bitwise_xor.reduce(looked_up, axis=1).tolist():
            state = (
                first[state & 255] ^ second[state >> 8 & 255] ^ third[state >> 16 & 255] ^ fourth[state >> 24] ^ block
            )
    return state ^ 0xFFFFFFFF


def masked(checksum):
    """The form in which a checksum is stored beside its data."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF
