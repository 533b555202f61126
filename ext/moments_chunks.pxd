"""The moments of rows of a batch: chunk by chunk, each summed about a shift and merged into a state.

Inline functions for `_moments.pyx`: nothing here knows Python. The sums themselves are in `moments_pass.h`.
"""

from libc.math cimport NAN, isfinite
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from moments_walk cimport GATHERED, LONG_RUNS, ROWS, RUN_LANES, SHORT_RUNS, Walk, gather

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
        void (*line_float)(const void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                           double *) noexcept nogil
        void (*line_double)(const void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                           double *) noexcept nogil
    enum:
        MAX_VARIANTS
    int find_kernels(const Kernels **)
    double next_shift(double, double)
    double better_shift(double, double, double, double)

cdef extern from *:
    """
    enum {
        CHUNK = 131072,     /* bytes that stay in the second-level cache */
        MIN_ROWS = 256,     /* of a chunk of wide rows: its end costs as much as some twenty rows */
        MAX_ROWS = 512,     /* of a chunk: what the kernels' rounding errors allow */
        PROBE_ROWS = 32,    /* of the first chunk of many */
        WIDE = 512,         /* channels whose sums stay in the first-level cache */
        MAX_TRIES = 4       /* given shift, zero, mean, exact mean of a constant */
    };
    """
    enum:
        CHUNK
        MIN_ROWS
        MAX_ROWS
        PROBE_ROWS
        WIDE
        MAX_TRIES


cdef struct Block:
    # [rows, channels, run] elements; strides are in elements. Runs, and channels with runs of 1, are contiguous.
    const char *data
    Py_ssize_t rows, row_stride
    Py_ssize_t channels, channel_stride
    Py_ssize_t run


cdef struct Pair:
    # Rows as long as those of the batch, contiguous as these are; a line over them and what is summed about it, for
    # `lanes` of whole rows side by side: [3, lanes] each.
    const char *data
    Py_ssize_t lanes
    const double *line
    double *sums


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


cdef inline void fill_tile(const Kernels *kernels, const char *base, const Walk *walk, Py_ssize_t first, Py_ssize_t rows,
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


cdef inline void sum_rows(const Kernels *kernels, Py_ssize_t size, const Block *block, const double *shift,
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


cdef inline void sum_runs(const Kernels *kernels, Py_ssize_t size, const Block *block, const double *shift,
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


cdef inline void join(const Kernels *kernels, Py_ssize_t n, double *state, Py_ssize_t ld, double weight, double *part,
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


cdef inline void add_block(const Kernels *kernels, const Walk *walk, const Block *block, double *shift, double done,
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


cdef inline void add_line(const Kernels *kernels, Py_ssize_t size, const char *x, const char *y, Py_ssize_t rows,
                          Py_ssize_t lanes, Py_ssize_t ld, const Pair *pair) noexcept nogil:
    if size == 4:
        kernels.line_float(x, y, rows, lanes, ld, pair.line, pair.sums)
    else:
        kernels.line_double(x, y, rows, lanes, ld, pair.line, pair.sums)


cdef inline void add_pair(const Kernels *kernels, const char *base, const Walk *walk, Py_ssize_t first, Py_ssize_t rows,
                          const Pair *pair) noexcept nogil:
    """Adds up rows of both arrays, of which those of the batch are still in the cache."""
    cdef Py_ssize_t size = walk.work_size
    cdef Py_ssize_t start = first * walk.channels * size
    cdef Py_ssize_t whole = rows * walk.channels // pair.lanes
    cdef Py_ssize_t rest = rows * walk.channels - whole * pair.lanes
    add_line(kernels, size, base + start, pair.data + start, whole, pair.lanes, pair.lanes, pair)
    if rest:
        start += whole * pair.lanes * size
        add_line(kernels, size, base + start, pair.data + start, 1, rest, pair.lanes, pair)


cdef inline void accumulate(const Kernels *kernels, const char *base, const Walk *walk, Py_ssize_t first,
                     Py_ssize_t count, Py_ssize_t channel, Py_ssize_t channels, double done, double *state,
                     Py_ssize_t ld, const Scratch *scratch, const Pair *pair) noexcept nogil:
    """Merges rows `first` to `first + count` of some channels into `state`, which holds `done` rows.

    pair: NULL, or another array of the same contiguous rows, summed beside them.
    """
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
        if pair != NULL:
            add_pair(kernels, base, walk, first, rows, pair)
        first += rows
        count -= rows
        done += rows
        limit = MAX_ROWS


cdef inline void merge_rows(const Kernels *kernels, const char *base, const Walk *walk, Py_ssize_t first, Py_ssize_t rows,
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
