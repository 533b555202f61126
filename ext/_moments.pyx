"""Batch moments and their merge, in float64 and without the GIL.

Nothing here knows TensorFlow or NumPy: batches arrive through the buffer protocol, results leave in
float64 buffers of the caller. `tf1bn.moments` is the documented face and checks every argument.

A state is a float64 array [4, channels]: mean and its low-order word, then the population variance and
its low-order word.

How a batch is read: a chunk at a time, small enough for the second-level cache, so that memory is passed over
once. Of a chunk, the sums and the sums of squares about a shift per channel are taken; where the shift turns
out not to suit the data, they are taken again about a better one, from the cache. The kernels say what suits.
"""

from cpython.buffer cimport PyBUF_RECORDS_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.math cimport NAN, isfinite
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

import sys

cdef extern from "<fenv.h>" nogil:
    ctypedef struct fenv_t:
        pass
    const fenv_t *FE_DFL_ENV
    int fegetenv(fenv_t *)
    int fesetenv(const fenv_t *)

cdef extern from "moments_kernels.h" nogil:
    enum:
        MAX_LANES
    ctypedef struct Kernels:
        const char *name
        void (*pass_float)(const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *, double *, double *,
                           double *) noexcept nogil
        void (*pass_double)(const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *, double *, double *,
                            double *) noexcept nogil
        void (*fold)(double *, double *, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*settle)(Py_ssize_t, double, const double *, const double *, const double *, double *,
                             double *, double *) noexcept nogil
        void (*merge)(Py_ssize_t, double *, Py_ssize_t, const double *, Py_ssize_t, double) noexcept nogil
        void (*half)(const uint16_t *, Py_ssize_t, float *) noexcept nogil
    enum:
        MAX_VARIANTS
    int find_kernels(const Kernels **)
    double next_shift(double, double)
    double better_shift(double, double, double, double)

cdef extern from *:
    """
    enum {
        MAX_AXES = 64,      /* NumPy's limit */
        CHUNK = 131072,     /* bytes that stay in the second-level cache */
        MIN_ROWS = 256,     /* of a chunk of wide rows: its end costs as much as some twenty rows */
        MAX_ROWS = 512,     /* of a chunk: what the kernels' rounding errors allow */
        PROBE_ROWS = 32,    /* of the first chunk of many */
        WIDE = 512,         /* channels whose sums stay in the first-level cache */
        RUN_LANES = 64,     /* lanes that a run of one channel is cut into */
        MAX_TRIES = 4       /* given shift, zero, mean, exact mean of a constant */
    };
    """
    enum:
        MAX_AXES
        CHUNK
        MIN_ROWS
        MAX_ROWS
        PROBE_ROWS
        WIDE
        RUN_LANES
        MAX_TRIES
    const char *TF1BN_VERSION
    const char *TF1BN_SOURCE_HASH

version = TF1BN_VERSION.decode("ascii")
source_hash = TF1BN_SOURCE_HASH.decode("ascii")

cdef bint BIG_ENDIAN = sys.byteorder == "big"

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
    Py_ssize_t itemsize     # 2, 4, 8: in memory
    Py_ssize_t work_size    # 4, 8: as the kernels read it
    bint swapped
    Mode mode
    Py_ssize_t grain        # tasks begin at multiples of this many elements per channel


cdef struct Block:
    # [rows, channels, run] elements; strides are in elements. Runs, and channels with runs of 1, are contiguous.
    const char *data
    Py_ssize_t rows, row_stride
    Py_ssize_t channels, channel_stride
    Py_ssize_t run


cdef struct Scratch:
    double *shift           # [channels of the task]
    double *state           # [4, MAX_LANES]: of a chunk
    double *sum             # [MAX_LANES], as the rest
    double *square
    double *lane_sum
    double *lane_square
    double *lane_shift
    double *part            # [2 * MAX_LANES]
    void *memory            # what all the others are parts of
    char *tile              # CHUNK bytes
    uint16_t *half          # CHUNK / 2 bytes


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
        while index[axis] + 1 == walk.size[axis]:
            source -= index[axis] * walk.stride[axis]
            index[axis] = 0
            axis -= 1
        index[axis] += 1
        source += walk.stride[axis]


cdef void fill_tile(const Kernels *kernels, const char *base, const Walk *walk, Py_ssize_t first, Py_ssize_t rows,
                    Py_ssize_t channel, Py_ssize_t group, const Scratch *scratch) noexcept nogil:
    if walk.itemsize == 2:
        gather[uint16_t](base, walk, first, rows, channel, group, scratch.half)
        kernels.half(scratch.half, rows * group, <float *> scratch.tile)
    elif walk.itemsize == 4:
        gather[uint32_t](base, walk, first, rows, channel, group, <uint32_t *> scratch.tile)
    else:
        gather[uint64_t](base, walk, first, rows, channel, group, <uint64_t *> scratch.tile)


cdef inline Py_ssize_t copies_of(Py_ssize_t width) noexcept nogil:
    """How many contiguous rows of this width lie side by side in the lanes, so that these are many and even."""
    cdef Py_ssize_t copies = 1
    while (copies * width < 64 or copies * width % 16) and 2 * copies * width <= MAX_LANES:
        copies *= 2
    return copies


cdef inline void sum_lanes(const Kernels *kernels, Py_ssize_t size, const char *data, Py_ssize_t stride,
                           Py_ssize_t rows, Py_ssize_t lanes, const double *shift,
                           const Scratch *scratch) noexcept nogil:
    if size == 4:
        kernels.pass_float(data, stride, rows, lanes, shift, scratch.part, scratch.lane_sum, scratch.lane_square)
    else:
        kernels.pass_double(data, stride, rows, lanes, shift, scratch.part, scratch.lane_sum, scratch.lane_square)


cdef void sum_rows(const Kernels *kernels, Py_ssize_t size, const Block *block, const double *shift,
                   const Scratch *scratch) noexcept nogil:
    """Sums of a block whose rows are contiguous, [channels, run] each."""
    cdef Py_ssize_t width = block.channels * block.run
    cdef Py_ssize_t copies = copies_of(width) if block.row_stride == width else 1
    cdef Py_ssize_t lanes = copies * width
    cdef Py_ssize_t stride = lanes if copies > 1 else block.row_stride
    cdef Py_ssize_t rows = block.rows // copies
    cdef Py_ssize_t left = block.rows - rows * copies
    cdef Py_ssize_t c, j, k
    cdef bint shifted = False
    cdef double total, square
    for c in range(block.channels):
        shifted |= shift[c] != 0.0
    if shifted:
        for c in range(block.channels):
            for j in range(block.run):
                scratch.lane_shift[c * block.run + j] = shift[c]
        for j in range(width, lanes):
            scratch.lane_shift[j] = scratch.lane_shift[j - width]
    memset(scratch.lane_sum, 0, lanes * sizeof(double))
    memset(scratch.lane_square, 0, lanes * sizeof(double))
    shift = scratch.lane_shift if shifted else NULL
    sum_lanes(kernels, size, block.data, stride, rows, lanes, shift, scratch)
    if left:
        sum_lanes(kernels, size, block.data + rows * lanes * size, 0, 1, left * width, shift, scratch)
    kernels.fold(scratch.lane_sum, scratch.lane_square, copies, width)
    if block.run == 1:
        memcpy(scratch.sum, scratch.lane_sum, width * sizeof(double))
        memcpy(scratch.square, scratch.lane_square, width * sizeof(double))
        return
    for c in range(block.channels):
        total = square = 0.0
        k = c * block.run
        for j in range(block.run):
            total += scratch.lane_sum[k + j]
            square += scratch.lane_square[k + j]
        scratch.sum[c] = total
        scratch.square[c] = square


cdef void sum_runs(const Kernels *kernels, Py_ssize_t size, const Block *block, const double *shift,
                   const Scratch *scratch) noexcept nogil:
    """Sums of a block whose runs are long enough to be summed one by one."""
    cdef Py_ssize_t rows = block.run // RUN_LANES
    cdef Py_ssize_t left = block.run - rows * RUN_LANES
    cdef Py_ssize_t c, i, j
    cdef const char *data
    cdef const double *lane_shift
    for c in range(block.channels):
        lane_shift = NULL
        if shift[c] != 0.0:
            lane_shift = scratch.lane_shift
            for j in range(RUN_LANES):
                scratch.lane_shift[j] = shift[c]
        memset(scratch.lane_sum, 0, RUN_LANES * sizeof(double))
        memset(scratch.lane_square, 0, RUN_LANES * sizeof(double))
        for i in range(block.rows):
            data = block.data + (i * block.row_stride + c * block.channel_stride) * size
            sum_lanes(kernels, size, data, RUN_LANES, rows, RUN_LANES, lane_shift, scratch)
            if left:
                sum_lanes(kernels, size, data + rows * RUN_LANES * size, 0, 1, left, lane_shift, scratch)
        kernels.fold(scratch.lane_sum, scratch.lane_square, RUN_LANES, 1)
        scratch.sum[c] = scratch.lane_sum[0]
        scratch.square[c] = scratch.lane_square[0]


cdef void join(const Kernels *kernels, Py_ssize_t n, double *state, Py_ssize_t ld, double weight, double *part,
               double part_weight) noexcept nogil:
    """Merges a part, [4, n] with rows MAX_LANES apart, into `state`; what the part holds then is undefined."""
    cdef Py_ssize_t c
    cdef int k
    cdef double swap
    if weight == 0.0:
        for k in range(4):
            memcpy(state + k * ld, part + k * MAX_LANES, n * sizeof(double))
        return
    if weight < part_weight:
        for k in range(4):
            for c in range(n):
                swap = state[k * ld + c]
                state[k * ld + c] = part[k * MAX_LANES + c]
                part[k * MAX_LANES + c] = swap
    kernels.merge(n, state, ld, part, MAX_LANES, min(weight, part_weight) / (weight + part_weight))


cdef void add_block(const Kernels *kernels, const Walk *walk, const Block *block, double *shift, double done,
                    double *state, Py_ssize_t ld, const Scratch *scratch) noexcept nogil:
    """Merges the moments of a block into the state of its channels, and leaves the shift for the next one."""
    cdef double *mean = scratch.state
    cdef double *variance = scratch.state + 2 * MAX_LANES
    cdef double count = <double> (block.rows * block.run)
    cdef Py_ssize_t n = block.channels
    cdef Py_ssize_t c
    cdef int tries = MAX_TRIES
    while True:
        if walk.mode == LONG_RUNS:
            sum_runs(kernels, walk.work_size, block, shift, scratch)
        else:
            sum_rows(kernels, walk.work_size, block, shift, scratch)
        tries -= 1
        if kernels.settle(n, count, shift, scratch.sum, scratch.square, mean, mean + MAX_LANES, variance) == 0:
            break
        if tries == 0:
            break
        for c in range(n):
            shift[c] = better_shift(shift[c], count, scratch.sum[c], scratch.square[c])
    for c in range(n):
        shift[c] = next_shift(mean[c], variance[c])
    memset(mean + 3 * MAX_LANES, 0, n * sizeof(double))
    join(kernels, n, state, ld, done, mean, count)


cdef void accumulate(const Kernels *kernels, const char *base, const Walk *walk, Py_ssize_t first,
                     Py_ssize_t count, Py_ssize_t channel, Py_ssize_t channels, double done, double *state,
                     Py_ssize_t ld, const Scratch *scratch) noexcept nogil:
    """Merges rows `first` to `first + count` of some channels into `state`, which holds `done` rows."""
    cdef Py_ssize_t size = walk.work_size
    cdef Py_ssize_t fit = CHUNK // size
    cdef Py_ssize_t run = walk.size[walk.axes - 1]
    cdef Py_ssize_t inner = walk.stride[walk.axes - 1]
    cdef Py_ssize_t rows, outer, offset, group, c
    cdef Py_ssize_t limit = MAX_ROWS
    cdef Block block
    for c in range(channels):
        scratch.shift[c] = 0.0
    if count > 4 * fit // channels:
        # The first chunk is small: it is often done twice, to find the shifts.
        limit = PROBE_ROWS
    while count > 0:
        block.run = 1
        block.row_stride = 0
        block.channel_stride = walk.channel_stride // size
        outer = first
        offset = 0
        if walk.mode == ROWS:
            group = channels if channels <= MAX_LANES else WIDE
            c = copies_of(channels) if inner == channels * size else 1
            rows = min(max(fit // (c * group), <Py_ssize_t> MIN_ROWS), <Py_ssize_t> MAX_ROWS)
            rows = min(c * min(rows, limit), count)
            block.row_stride = inner // size
        elif walk.mode == GATHERED:
            # Channels that lie closer together than rows are gathered together.
            group = min(channels, <Py_ssize_t> 256)
            if walk.count > 1 and inner < max(walk.channel_stride, -walk.channel_stride):
                group = 1
            rows = min(fit // group, count)
        else:
            outer = first // run
            offset = first % run
            block.row_stride = walk.stride[0] // size if walk.axes > 1 else 0
            if walk.mode == SHORT_RUNS:
                # These begin and end with whole runs; see `grain`.
                block.run = run
                group = min(channels, MAX_LANES // run)
                rows = min(max(fit // (run * group), <Py_ssize_t> MIN_ROWS), <Py_ssize_t> MAX_ROWS)
                rows = run * min(min(rows, limit), count // run)
            else:
                block.run = rows = min(min(count, run - offset), min(fit, limit * RUN_LANES))
                if block.run == run:
                    rows *= min(max(fit // (run * channels), <Py_ssize_t> 1), count // run)
                group = min(max(fit // rows, <Py_ssize_t> 1), <Py_ssize_t> MAX_LANES)
        block.rows = rows // block.run
        c = 0
        while c < channels:
            block.channels = min(group, channels - c)
            if walk.mode == GATHERED:
                fill_tile(kernels, base, walk, first, rows, channel + c, block.channels, scratch)
                block.data = scratch.tile
                block.row_stride = block.channels
            else:
                block.data = base + (channel + c) * walk.channel_stride
                if walk.mode == ROWS or walk.axes > 1:
                    block.data += outer * walk.stride[0]
                if walk.mode != ROWS:
                    block.data += offset * size
            add_block(kernels, walk, &block, scratch.shift + c, done, state + c, ld, scratch)
            c += block.channels
        first += rows
        count -= rows
        done += rows
        limit = MAX_ROWS


cdef void merge_rows(const Kernels *kernels, const char *base, const Walk *walk, Py_ssize_t first, Py_ssize_t rows,
                     const double *weights, double *high, double *low, double *state, double *poison,
                     const Scratch *scratch) noexcept nogil:
    """Merges rows of weights `weights` into `state` of weight high + low; one element is its own mean."""
    cdef double *mean = scratch.state
    cdef Py_ssize_t group = min(walk.channels, <Py_ssize_t> WIDE)
    cdef Py_ssize_t fit = CHUNK // walk.work_size // group
    cdef Py_ssize_t channel, n, taken, i, c
    cdef double total = 0.0, rest = 0.0, sum, part
    while rows > 0:
        taken = min(rows, fit)
        channel = 0
        while channel < walk.channels:
            n = min(group, walk.channels - channel)
            fill_tile(kernels, base, walk, first, taken, channel, n, scratch)
            total = high[0]
            rest = low[0]
            for i in range(taken):
                for c in range(n):
                    mean[c] = ((<const float *> scratch.tile)[i * n + c] if walk.work_size == 4
                               else (<const double *> scratch.tile)[i * n + c])
                if weights[i] == 0.0:
                    for c in range(n):
                        if not isfinite(mean[c]):
                            poison[channel + c] = NAN
                    continue
                memset(mean + MAX_LANES, 0, n * sizeof(double))
                for c in range(n):
                    # 0, or NaN for what is not finite.
                    mean[c + 2 * MAX_LANES] = 0.0 * mean[c]
                memset(mean + 3 * MAX_LANES, 0, n * sizeof(double))
                join(kernels, n, state + channel, walk.channels, total, mean, weights[i])
                # Knuth's two-sum.
                sum = total + weights[i]
                part = sum - total
                rest += (total - (sum - part)) + (weights[i] - part)
                total = sum + rest
                rest -= total - sum
            channel += n
        high[0] = total
        low[0] = rest
        first += taken
        weights += taken
        rows -= taken


cdef void plan(Py_buffer *view, Walk *walk, const char **start) noexcept nogil:
    """Fill `walk` from a view whose last axis is the channels, and find the address of its first element."""
    cdef const char *base = <const char *> view.buf
    cdef int last = view.ndim - 1
    cdef int axis, place, merged
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
        if stride == 0:
            # The same elements again and again have the same moments.
            walk.repeats *= size
            continue
        walk.count *= size
        if stride < 0:
            base += (size - 1) * stride
            stride = -stride
        misfit |= stride % walk.itemsize
        # Longest stride outermost, whatever the order of the axes.
        place = walk.axes
        while place > 0 and walk.stride[place - 1] < stride:
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
    if misfit or walk.swapped or walk.itemsize == 2:
        return
    if (walk.axes == 1 and walk.channel_stride == walk.itemsize
            and (walk.channels >= 16 or stride == walk.channels * walk.itemsize)):
        walk.mode = ROWS
    elif walk.axes <= 2 and stride == walk.itemsize and size > 1:
        if (walk.channel_stride == size * stride and size * walk.axes <= WIDE
                and (size <= RUN_LANES or walk.count // size >= 16)):
            walk.mode = SHORT_RUNS
            walk.grain = size
        elif size >= RUN_LANES:
            walk.mode = LONG_RUNS
            walk.grain = size if walk.count // size >= 64 else 8 * RUN_LANES


# Written once, at import; the fastest first.
cdef const Kernels *KERNELS[MAX_VARIANTS]
cdef int KERNEL_COUNT = find_kernels(KERNELS)
variants = tuple([KERNELS[i].name.decode("ascii") for i in range(KERNEL_COUNT)])


cdef const Kernels *find_variant(variant) except NULL:
    if variant is None:
        return KERNELS[0]
    if variant not in variants:
        raise ValueError(f"This machine has no variant {variant!r}; it has {', '.join(variants)}.")
    return KERNELS[<Py_ssize_t> variants.index(variant)]


cdef int allocate(Scratch *scratch, Py_ssize_t channels, bint tile) except -1:
    cdef double *memory = <double *> PyMem_RawMalloc(
        (channels + 11 * MAX_LANES + 15) * sizeof(double) + (CHUNK + CHUNK // 2 if tile else 0))
    if memory == NULL:
        raise MemoryError()
    scratch.memory = memory
    # Aligned to cache lines.
    scratch.state = <double *> ((<uintptr_t> memory + 63) // 64 * 64)
    scratch.sum = scratch.state + 4 * MAX_LANES
    scratch.square = scratch.sum + MAX_LANES
    scratch.lane_sum = scratch.square + MAX_LANES
    scratch.lane_square = scratch.lane_sum + MAX_LANES
    scratch.lane_shift = scratch.lane_square + MAX_LANES
    scratch.part = scratch.lane_shift + MAX_LANES
    scratch.shift = scratch.part + 2 * MAX_LANES
    scratch.tile = <char *> (scratch.shift + (channels + 7) // 8 * 8)
    scratch.half = <uint16_t *> (scratch.tile + CHUNK)
    return 0


cdef class DefaultEnvironment:
    """A context with the default rounding and with denormals, whatever others have set on this thread."""

    cdef fenv_t saved

    def __enter__(self):
        fegetenv(&self.saved)
        fesetenv(FE_DFL_ENV)

    def __exit__(self, *_):
        fesetenv(&self.saved)


cdef class Batch:
    """A batch (float16, float32 or float64, channels last) whose buffer is held as long as this lives.

    count: elements per channel; rows: how many of them differ in address, which is what `accumulate` counts;
    grain: ranges of rows begin at multiples of it.
    """

    cdef Py_buffer view
    cdef bint held
    cdef Walk walk
    cdef const char *base
    cdef readonly object count

    def __cinit__(self, batch):
        PyObject_GetBuffer(batch, &self.view, PyBUF_RECORDS_RO)
        self.held = True
        text = self.view.format
        if text.lstrip(b"@=<>!^") not in (b"e", b"f", b"d"):
            raise TypeError(f"The extension reads float16, float32 and float64, not format {text!r}.")
        if not 2 <= self.view.ndim <= MAX_AXES:
            raise ValueError(f"The extension reads 2 to {MAX_AXES} axes, not {self.view.ndim}.")
        if self.view.shape[self.view.ndim - 1] == 0:
            raise ValueError("The batch must have at least one channel.")
        self.walk.itemsize = self.view.itemsize
        self.walk.work_size = max(self.view.itemsize, 4)
        self.walk.swapped = (text[0] == c"<" and BIG_ENDIAN) or (text[0] in b">!" and not BIG_ENDIAN)
        with nogil:
            plan(&self.view, &self.walk, &self.base)
        self.count = self.walk.count * int(self.walk.repeats)

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    @property
    def rows(self):
        return self.walk.count

    @property
    def grain(self):
        return self.walk.grain

    @property
    def itemsize(self):
        return self.walk.itemsize

    def accumulate(self, double[:, ::1] state not None, Py_ssize_t first, Py_ssize_t count, Py_ssize_t channel=0,
                   double done=0.0, variant=None):
        """Merge the rows `first` to `first + count` into `state`, which holds `done` rows.

        state: [4, channels], of the channels from `channel` on; what it holds is ignored if `done` is 0.
        Rounding modes and flushing to zero that others have set do not matter: see `DefaultEnvironment`, which
        is of one thread, and this may run on any.
        """
        cdef const Kernels *kernels = find_variant(variant)
        cdef Py_ssize_t channels = state.shape[1]
        cdef Walk *walk = &self.walk
        cdef Scratch scratch
        cdef fenv_t environment
        if state.shape[0] != 4 or channels == 0 or channel < 0 or channels > walk.channels - channel:
            raise ValueError("The state must be [4, channels] with at least one channel, all in the batch.")
        if (first < 0 or count < 1 or count > walk.count - first or first % walk.grain
                or (count % walk.grain and first + count != walk.count)):
            raise ValueError(f"The rows must be some of {walk.count} and begin at multiples of {walk.grain}.")
        allocate(&scratch, channels, walk.mode == GATHERED)
        with nogil:
            fegetenv(&environment)
            fesetenv(FE_DFL_ENV)
            accumulate(kernels, self.base, walk, first, count, channel, channels, done, &state[0, 0],
                       channels, &scratch)
            fesetenv(&environment)
            PyMem_RawFree(scratch.memory)

    def accumulate_weighted(self, double[:, ::1] state not None, double[::1] poison not None,
                            const double[::1] weights not None, Py_ssize_t first, double high, double low,
                            variant=None):
        """Merge rows of a batch of rank 2 from `first` on, with a weight each, into the state of all channels.

        high, low: the weight of what the state holds, in two words; what it is then is returned. What is not
        finite in a row of weight 0 makes its channel of `poison` NaN.
        """
        cdef const Kernels *kernels = find_variant(variant)
        cdef Py_ssize_t channels = self.walk.channels
        cdef Walk walk = self.walk
        cdef Scratch scratch
        if (self.view.ndim != 2 or state.shape[0] != 4 or state.shape[1] != channels
                or poison.shape[0] != channels):
            raise ValueError("The batch must be [rows, channels], the state [4, channels], the poison [channels].")
        if first < 0 or weights.shape[0] < 1 or weights.shape[0] > self.view.shape[0] - first:
            raise ValueError(f"The rows must be some of {self.view.shape[0]}.")
        # The order is that of the weights, not that of memory.
        walk.axes = 1
        walk.size[0] = self.view.shape[0]
        walk.stride[0] = self.view.strides[0]
        walk.channel_stride = self.view.strides[1]
        allocate(&scratch, channels, True)
        with nogil:
            merge_rows(kernels, <const char *> self.view.buf, &walk, first, weights.shape[0], &weights[0], &high,
                       &low, &state[0, 0], &poison[0], &scratch)
            PyMem_RawFree(scratch.memory)
        return high, low


def merge_states(double[:, ::1] state not None, const double[:, ::1] other not None, double share, variant=None):
    """Merge `other` into `state`; `share`, from 0 to 1/2, is the weight of the other in the weight of both."""
    cdef const Kernels *kernels = find_variant(variant)
    if state.shape[0] != 4 or other.shape[0] != 4 or state.shape[1] != other.shape[1] or state.shape[1] == 0:
        raise ValueError("Both states must be [4, channels] with the same channels.")
    with nogil:
        kernels.merge(state.shape[1], &state[0, 0], state.shape[1], &other[0, 0], other.shape[1], share)
