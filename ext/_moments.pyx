"""Batch moments and their merge, in float64 and without the GIL.

Nothing here knows TensorFlow or NumPy: batches arrive through the buffer protocol, results leave in
float64 buffers of the caller. `tf1bn.moments` is the documented face and checks every argument.

A state is a float64 array [4, channels]: mean and its low-order word, then M2, the sum of squared
deviations from the mean, and its low-order word.
"""

from cpython.buffer cimport PyBUF_RECORDS_RO, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport NAN, isfinite
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

import sys

cdef extern from *:
    """
    enum {
        MAX_AXES = 64,  /* NumPy's limit */
        TILE = 2048,    /* float64 elements that stay in the first-level cache: 16 KiB */
        MAX_LANES = 64  /* accumulators of a tile */
    };
    """
    enum:
        MAX_AXES
        TILE
        MAX_LANES
    const char *TF1BN_VERSION
    const char *TF1BN_SOURCE_HASH

version = TF1BN_VERSION.decode("ascii")
source_hash = TF1BN_SOURCE_HASH.decode("ascii")

cdef bint BIG_ENDIAN = sys.byteorder == "big"

# What the bytes of an element hold. C has no half: a float16 travels as its bits.
ctypedef fused element:
    uint16_t
    float
    double


cdef struct Walk:
    # The reduced axes, outermost first, and the channel axis; strides are in bytes.
    int axes
    Py_ssize_t size[MAX_AXES]
    Py_ssize_t stride[MAX_AXES]
    Py_ssize_t channels
    Py_ssize_t channel_stride
    Py_ssize_t group
    Py_ssize_t count
    bint swapped


cdef inline double half_to_double(uint16_t bits) noexcept nogil:
    # Through float32, which holds every float16 as a normal number; masks instead of branches, to vectorize.
    cdef uint32_t magnitude = bits & 0x7FFF
    cdef uint32_t word = magnitude << 13
    cdef uint32_t bias = <uint32_t> 112 << 23
    cdef uint32_t subnormal, mask
    cdef float value
    word += bias + (bias & -<uint32_t> (magnitude >= 0x7C00))
    # A subnormal has no implicit leading bit; with it the value is 2**-15 and half of what it should be.
    memcpy(&value, &word, 4)
    value -= <float> 3.0517578125e-05
    value += value
    memcpy(&subnormal, &value, 4)
    mask = -<uint32_t> (magnitude < 0x0400)
    word = (subnormal & mask) | (word & ~mask) | (<uint32_t> (bits & 0x8000) << 16)
    memcpy(&value, &word, 4)
    return value


cdef inline double load(element kind, const char *source, bint swapped) noexcept nogil:
    # memcpy, because nothing promises that the address is aligned.
    cdef uint16_t half
    cdef uint32_t single
    cdef uint64_t word
    cdef element value
    if element is uint16_t:
        memcpy(&half, source, 2)
        if swapped:
            half = <uint16_t> ((half << 8) | (half >> 8))
        return half_to_double(half)
    elif element is float:
        memcpy(&single, source, 4)
        if swapped:
            single = ((single << 24) | ((single << 8) & 0x00FF0000U) | ((single >> 8) & 0x0000FF00U)
                      | (single >> 24))
        memcpy(&value, &single, 4)
        return value
    else:
        memcpy(&word, source, 8)
        if swapped:
            word = ((word & 0x00FF00FF00FF00FFU) << 8) | ((word >> 8) & 0x00FF00FF00FF00FFU)
            word = ((word & 0x0000FFFF0000FFFFU) << 16) | ((word >> 16) & 0x0000FFFF0000FFFFU)
            word = (word << 32) | (word >> 32)
        memcpy(&value, &word, 8)
        return value


cdef inline void gather_run(element kind, const char *source, Py_ssize_t count, Py_ssize_t stride,
                            bint swapped, double *out) noexcept nogil:
    cdef Py_ssize_t i
    if swapped:
        for i in range(count):
            out[i] = load(kind, source + i * stride, True)
    elif stride == sizeof(element):
        # The constant stride is what lets the compiler vectorize.
        for i in range(count):
            out[i] = load(kind, source + i * <Py_ssize_t> sizeof(element), False)
    else:
        for i in range(count):
            out[i] = load(kind, source + i * stride, False)


cdef inline void gather(element kind, const char *base, const Walk *walk, Py_ssize_t first,
                        Py_ssize_t rows, Py_ssize_t channel, Py_ssize_t group,
                        double *out) noexcept nogil:
    """Rows `first` to `first + rows` of the reduced axes, `group` channels each, as float64 [rows, group]."""
    cdef Py_ssize_t index[MAX_AXES]
    cdef Py_ssize_t run, i
    cdef int last = walk.axes - 1
    cdef int axis
    cdef Py_ssize_t inner = walk.stride[last]
    cdef const char *source = base + channel * walk.channel_stride
    for axis in range(last, -1, -1):
        index[axis] = first % walk.size[axis]
        first //= walk.size[axis]
        source += index[axis] * walk.stride[axis]
    while True:
        run = min(rows, walk.size[last] - index[last])
        if group == 1:
            gather_run(kind, source, run, inner, walk.swapped, out)
        elif inner == group * walk.channel_stride:
            gather_run(kind, source, run * group, walk.channel_stride, walk.swapped, out)
        else:
            for i in range(run):
                gather_run(kind, source + i * inner, group, walk.channel_stride, walk.swapped,
                           out + i * group)
        rows -= run
        if rows == 0:
            return
        out += run * group
        # A run that ends before the tile does ends at the end of the innermost axis: carry.
        source -= index[last] * inner
        index[last] = 0
        axis = last - 1
        while index[axis] + 1 == walk.size[axis]:
            source -= index[axis] * walk.stride[axis]
            index[axis] = 0
            axis -= 1
        index[axis] += 1
        source += walk.stride[axis]


cdef inline void merge_channel(double *mean, double *mean_low, double *m2, double *m2_low,
                               double count, double other_mean, double other_mean_low,
                               double other_m2, double other_m2_low,
                               double other_count) noexcept nogil:
    """Chan, Golub and LeVeque's pairwise update; exact low-order words keep many merges accurate.

    The other side must not be the larger one: the rounding of its weight is multiplied by the difference
    of the means, and only the smaller side's share of that is small against the mean of |x|.
    """
    cdef double total = count + other_count
    cdef double weight = other_count / total
    cdef double delta = (other_mean - mean[0]) + (other_mean_low - mean_low[0])
    cdef double step = delta * weight
    # Knuth's two-sum of the mean and its step.
    cdef double high = mean[0] + step
    cdef double part = high - mean[0]
    cdef double low = ((mean[0] - (high - part)) + (step - part)) + mean_low[0]
    if isfinite(delta):
        mean[0] = high + low
        mean_low[0] = low - (mean[0] - high)
    else:
        # Infinities add up to an infinity or to NaN, as in a plain sum; their M2 is NaN already.
        mean[0] = mean[0] * (count / total) + other_mean * weight
        mean_low[0] = 0.0
    step = other_m2 + delta * (delta * (count * weight))
    high = m2[0] + step
    part = high - m2[0]
    low = ((m2[0] - (high - part)) + (step - part)) + (m2_low[0] + other_m2_low)
    if isfinite(high):
        m2[0] = high + low
        m2_low[0] = low - (m2[0] - high)
    else:
        m2[0] = high
        m2_low[0] = 0.0


cdef inline void fold(double *lanes, Py_ssize_t width, Py_ssize_t group) noexcept nogil:
    cdef Py_ssize_t j
    while width > group:
        width //= 2
        for j in range(width):
            lanes[j] += lanes[j + width]


cdef inline void add_tile(const double *tile, Py_ssize_t rows, Py_ssize_t group, double done,
                          double *state, Py_ssize_t channels) noexcept nogil:
    """The corrected two-pass moments of a tile [rows, group], merged into the state of its channels.

    The first mean need not be exact: the second pass takes its error out again (Chan, Golub and LeVeque 1983).
    For a constant that error is a small multiple of the last place, so that both results are exact.
    """
    cdef double center[MAX_LANES]
    cdef double total[MAX_LANES]
    cdef double square[MAX_LANES]
    cdef Py_ssize_t size = rows * group
    cdef Py_ssize_t width = group
    cdef Py_ssize_t j
    cdef const double *row
    cdef const double *end = tile + size
    cdef double a, b, c, d, mean, m2
    # Few channels: several rows side by side, a power of two of them for the fold at the end.
    while 2 * width <= MAX_LANES and 2 * width <= size:
        width *= 2

    for j in range(width):
        total[j] = 0.0
    row = tile
    while end - row >= 4 * width:
        for j in range(width):
            total[j] += (row[j] + row[j + width]) + (row[j + 2 * width] + row[j + 3 * width])
        row += 4 * width
    while row < end:
        for j in range(min(width, end - row)):
            total[j] += row[j]
        row += width
    fold(total, width, group)
    for j in range(width):
        center[j] = total[j % group] / rows

    for j in range(width):
        total[j] = 0.0
        square[j] = 0.0
    row = tile
    while end - row >= 4 * width:
        for j in range(width):
            a = row[j] - center[j]
            b = row[j + width] - center[j]
            c = row[j + 2 * width] - center[j]
            d = row[j + 3 * width] - center[j]
            total[j] += (a + b) + (c + d)
            square[j] += (a * a + b * b) + (c * c + d * d)
        row += 4 * width
    while row < end:
        for j in range(min(width, end - row)):
            a = row[j] - center[j]
            total[j] += a
            square[j] += a * a
        row += width
    fold(total, width, group)
    fold(square, width, group)

    for j in range(group):
        mean = center[j]
        a = total[j] / rows
        m2 = square[j] - total[j] * a
        if isfinite(mean):
            b = mean + a
            a -= b - mean
            mean = b
        else:
            a = 0.0
        if done == 0.0:
            state[j] = mean
            state[j + channels] = a
            state[j + 2 * channels] = m2
            state[j + 3 * channels] = 0.0
        else:
            merge_channel(&state[j], &state[j + channels], &state[j + 2 * channels],
                          &state[j + 3 * channels], done, mean, a, m2, 0.0, <double> rows)


cdef void accumulate(element kind, const char *base, const Walk *walk, double *state) noexcept nogil:
    # Every tile of rows serves all channels before the next one is read: memory is passed over once.
    cdef double tile[TILE]
    cdef Py_ssize_t rows = TILE // walk.group
    cdef Py_ssize_t first = 0
    cdef Py_ssize_t channel, group
    while first < walk.count:
        rows = min(rows, walk.count - first)
        channel = 0
        while channel < walk.channels:
            group = min(walk.group, walk.channels - channel)
            gather(kind, base, walk, first, rows, channel, group, tile)
            add_tile(tile, rows, group, <double> first, state + channel, walk.channels)
            channel += group
        first += rows


cdef const char *plan(const Py_buffer *view, Walk *walk) noexcept nogil:
    """Fill `walk` from a view whose last axis is the channels; returns the address of its first element."""
    cdef const char *base = <const char *> view.buf
    cdef int last = view.ndim - 1
    cdef int axis, place, merged
    cdef Py_ssize_t size, stride
    walk.axes = 0
    walk.count = 1
    for axis in range(last):
        size = view.shape[axis]
        stride = view.strides[axis]
        walk.count *= size
        if size == 1:
            continue
        if stride < 0:
            base += (size - 1) * stride
            stride = -stride
        # Longest stride outermost, whatever the order of the axes.
        place = walk.axes
        while place > 0 and walk.stride[place - 1] < stride:
            walk.size[place] = walk.size[place - 1]
            walk.stride[place] = walk.stride[place - 1]
            place -= 1
        walk.size[place] = size
        walk.stride[place] = stride
        walk.axes += 1
    if walk.axes == 0:
        walk.size[0] = 1
        walk.stride[0] = 0
        walk.axes = 1
    merged = 0
    for axis in range(1, walk.axes):
        if walk.stride[merged] == walk.size[axis] * walk.stride[axis]:
            walk.size[merged] *= walk.size[axis]
        else:
            merged += 1
            walk.size[merged] = walk.size[axis]
        walk.stride[merged] = walk.stride[axis]
    walk.axes = merged + 1
    walk.channels = view.shape[last]
    walk.channel_stride = view.strides[last]
    stride = walk.stride[merged]
    # Channels that lie closer together than rows are gathered together.
    if walk.size[merged] > 1 and stride < max(walk.channel_stride, -walk.channel_stride):
        walk.group = 1
    else:
        walk.group = min(walk.channels, <Py_ssize_t> MAX_LANES)
    return base


def batch_state(batch, double[:, ::1] state not None):
    """Write the state of `batch` (float16, float32 or float64, channels last) and return its count."""
    cdef Py_buffer view
    cdef Walk walk
    cdef const char *base
    cdef char code
    PyObject_GetBuffer(batch, &view, PyBUF_RECORDS_RO)
    try:
        text = view.format
        code = text[len(text) - 1]
        if text.lstrip(b"@=<>!^") not in (b"e", b"f", b"d"):
            raise TypeError(f"The extension reads float16, float32 and float64, not format {text!r}.")
        if not 2 <= view.ndim <= MAX_AXES:
            raise ValueError(f"The extension reads 2 to {MAX_AXES} axes, not {view.ndim}.")
        if state.shape[0] != 4 or state.shape[1] != view.shape[view.ndim - 1] or state.shape[1] == 0:
            raise ValueError("The state must be [4, channels] with at least one channel.")
        walk.swapped = (text[0] == c"<" and BIG_ENDIAN) or (text[0] in b">!" and not BIG_ENDIAN)
        with nogil:
            base = plan(&view, &walk)
            if walk.count == 0:
                state[:, :] = NAN
            elif code == c"e":
                accumulate(<uint16_t> 0, base, &walk, &state[0, 0])
            elif code == c"f":
                accumulate(<float> 0, base, &walk, &state[0, 0])
            else:
                accumulate(<double> 0, base, &walk, &state[0, 0])
        return walk.count
    finally:
        PyBuffer_Release(&view)


def merge_states(double[:, ::1] state not None, double count, const double[:, ::1] other not None,
                 double other_count):
    """Merge `other` into `state`; `count >= other_count > 0`."""
    cdef Py_ssize_t c
    if state.shape[0] != 4 or other.shape[0] != 4 or state.shape[1] != other.shape[1]:
        raise ValueError("Both states must be [4, channels] with the same channels.")
    with nogil:
        for c in range(state.shape[1]):
            merge_channel(&state[0, c], &state[1, c], &state[2, c], &state[3, c], count,
                          other[0, c], other[1, c], other[2, c], other[3, c], other_count)
