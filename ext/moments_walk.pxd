"""How a batch lies in memory, and how parts of it are gathered where the kernels cannot read it as it lies.

Inline functions for `_moments.pyx`: nothing here knows Python.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

cdef extern from *:
    """
    enum {
        MAX_AXES = 64,      /* NumPy's limit */
        SHORT_RUN = 512,    /* elements of the longest runs that lie side by side in the lanes */
        RUN_LANES = 64,     /* lanes that a long run of one channel is cut into */
        SIDE_LANES = 512    /* of rows that share a weight, side by side */
    };
    """
    enum:
        MAX_AXES
        SHORT_RUN
        RUN_LANES
        SIDE_LANES

ctypedef fused word:
    uint16_t
    uint32_t
    uint64_t


cdef enum Mode:
    # Rows of neighbouring channels; rows of neighbouring runs, one a channel; long runs of one channel each;
    # anything else, gathered into a tile that is like the first.
    ROWS
    SHORT_RUNS
    LONG_RUNS
    GATHERED


cdef struct Walk:
    # The reduced axes, outermost first, and the channel axis; strides are in bytes.
    int axes
    Py_ssize_t size[MAX_AXES]
    Py_ssize_t stride[MAX_AXES]
    Py_ssize_t channels
    Py_ssize_t channel_stride
    Py_ssize_t count        # elements per channel that differ in address
    Py_ssize_t repeats      # how often each of them is repeated by strides of 0
    int kind                # that of the kernels
    Py_ssize_t itemsize
    bint swapped
    Mode mode
    Py_ssize_t grain        # tasks begin at multiples of this many elements per channel


cdef inline void copy_words(const char *source, Py_ssize_t count, Py_ssize_t stride, bint swapped,
                            word *out) noexcept nogil:
    # memcpy, because nothing promises that the address is aligned.
    cdef Py_ssize_t i
    cdef word value
    if stride == sizeof(word) and not swapped:
        memcpy(out, source, count * sizeof(word))
        return
    for i in range(count):
        memcpy(&value, source + i * stride, sizeof(word))
        if swapped:
            if word is uint16_t:
                value = <uint16_t> ((value << 8) | (value >> 8))
            elif word is uint32_t:
                value = ((value << 24) | ((value << 8) & 0x00FF0000U) | ((value >> 8) & 0x0000FF00U)
                         | (value >> 24))
            else:
                value = ((value & 0x00FF00FF00FF00FFU) << 8) | ((value >> 8) & 0x00FF00FF00FF00FFU)
                value = ((value & 0x0000FFFF0000FFFFU) << 16) | ((value >> 16) & 0x0000FFFF0000FFFFU)
                value = (value << 32) | (value >> 32)
        out[i] = value


cdef inline void gather(const char *base, const Walk *walk, Py_ssize_t first, Py_ssize_t rows,
                        Py_ssize_t channel, Py_ssize_t group, word *out) noexcept nogil:
    """Rows `first` to `first + rows` of the reduced axes, `group` channels each, as [rows, group]."""
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
            copy_words(source, run, inner, walk.swapped, out)
        elif inner == group * walk.channel_stride:
            copy_words(source, run * group, walk.channel_stride, walk.swapped, out)
        else:
            for i in range(run):
                copy_words(source + i * inner, group, walk.channel_stride, walk.swapped, out + i * group)
        rows -= run
        if rows == 0:
            return
        out += run * group
        # A run that ends before the tile does ends at the end of the innermost axis: carry.
        source -= index[last] * inner
        index[last] = 0
        axis = last - 1
        while axis >= 0 and index[axis] + 1 == walk.size[axis]:
            source -= index[axis] * walk.stride[axis]
            index[axis] = 0
            axis -= 1
        if axis < 0:
            # Never, as long as the rows are in the batch; the compiler cannot know.
            return
        index[axis] += 1
        source += walk.stride[axis]


cdef inline Py_ssize_t rows_beside(Py_ssize_t channels, Py_ssize_t item) noexcept nogil:
    """How many of the `item` contiguous rows that share a weight lie side by side in the lanes: a divisor of these."""
    cdef Py_ssize_t side = min(item, SIDE_LANES // channels)
    cdef Py_ssize_t found = 1
    while side > 1 and side * channels >= 48:
        if item % side == 0:
            if side * channels % 16 == 0:
                return side
            if found == 1:
                found = side
        side -= 1
    return found


cdef inline void plan(Py_buffer *view, bint by_items, Walk *walk, const char **start) noexcept nogil:
    """Fill `walk` from a view whose last axis is the channels, and find the address of its first element.

    The rows follow each other as is best for memory; by_items: item by item of axis 0, as they must where these have
    weights.
    """
    cdef const char *base = <const char *> view.buf
    cdef int last = view.ndim - 1
    cdef int axis, place, merged
    cdef int first = by_items and view.shape[0] != 1    # that axes can be moved to
    cdef Py_ssize_t size, stride, misfit
    walk.axes = 0
    walk.count = walk.repeats = 1
    walk.channels = view.shape[last]
    walk.channel_stride = view.strides[last]
    for axis in range(last):
        if view.shape[axis] == 0:
            walk.count = 0
    misfit = <Py_ssize_t> (<uintptr_t> base % walk.itemsize)
    for axis in range(last if walk.count else 0):
        size = view.shape[axis]
        stride = view.strides[axis]
        if size == 1:
            continue
        if stride == 0 and not (by_items and axis == 0):
            # The same elements again and again have the same moments.
            walk.repeats *= size
            continue
        walk.count *= size
        if stride < 0 and not (by_items and axis == 0):
            base += (size - 1) * stride
            stride = -stride
        misfit |= stride % walk.itemsize
        # Longest stride outermost, whatever the order of the axes.
        place = walk.axes
        while place > first and walk.stride[place - 1] < stride:
            walk.size[place] = walk.size[place - 1]
            walk.stride[place] = walk.stride[place - 1]
            place -= 1
        walk.size[place] = size
        walk.stride[place] = stride
        walk.axes += 1
    start[0] = base
    if walk.axes == 0:
        walk.size[0] = 1
        walk.stride[0] = walk.channels * walk.channel_stride
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
    size = walk.size[merged]
    stride = walk.stride[merged]
    if walk.channels == 1:
        walk.channel_stride = walk.itemsize
    misfit |= walk.channel_stride % walk.itemsize
    walk.grain = 1
    walk.mode = GATHERED
    if misfit or walk.swapped:
        return
    if (walk.axes == 1 and walk.channel_stride == walk.itemsize
            and (walk.channels >= 16 or stride == walk.channels * walk.itemsize)):
        walk.mode = ROWS
        if by_items and walk.channels < RUN_LANES and stride == walk.channels * walk.itemsize:
            walk.grain = rows_beside(walk.channels, walk.count // view.shape[0])
    elif walk.axes <= 2 and stride == walk.itemsize and size > 1:
        if (walk.channel_stride == size * stride and size * walk.axes <= SHORT_RUN
                and (size <= RUN_LANES or walk.count // size >= 16)
                and (not by_items or size * view.shape[0] == walk.count)):
            walk.mode = SHORT_RUNS
            walk.grain = size
        elif size >= RUN_LANES:
            walk.mode = LONG_RUNS
            walk.grain = size if walk.count // size >= 64 else 8 * RUN_LANES
