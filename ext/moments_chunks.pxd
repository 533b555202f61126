"""The moments of rows of a batch: chunk by chunk, each summed about a shift and merged into a state.

Inline functions for `_moments.pyx`: nothing here knows Python. The sums themselves are in `moments_pass.h`.
"""

from libc.math cimport fabs, frexp, ldexp
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from moments_walk cimport GATHERED, LONG_RUNS, ROWS, RUN_LANES, SHORT_RUNS, Walk, gather

cdef extern from "moments_kernels.h" nogil:
    enum:
        MAX_LANES
        FLOAT16
        BFLOAT16
        FLOAT32
        FLOAT64
        KINDS
        WEIGHT_FLOAT32
        WEIGHT_FLOAT64
    ctypedef struct Kernels:
        const char *name
        void (**sums)(const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *, double *, double *,
                      double *) noexcept nogil
        void (**weighted_sums)(const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *, const double *,
                               Py_ssize_t, double *, double *, double *) noexcept nogil
        void (**lines)(const void *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                       double *) noexcept nogil
        void (*clear)(double *, double *, Py_ssize_t) noexcept nogil
        void (*fold)(double *, double *, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*settle)(Py_ssize_t, double, const double *, const double *, const double *, double *,
                             double *, double *) noexcept nogil
        void (*merge)(Py_ssize_t, double *, Py_ssize_t, const double *, Py_ssize_t, double) noexcept nogil
        void (**survey)(const void *, Py_ssize_t, double *) noexcept nogil
        Py_ssize_t (**take)(const void *, Py_ssize_t, double, double *, double *) noexcept nogil
        void (*spread)(const double *, Py_ssize_t, Py_ssize_t, double *) noexcept nogil
    enum:
        MAX_VARIANTS
    double TINY
    int find_kernels(const Kernels **)
    double next_shift(double, double)
    double better_shift(double, double, double, double)

cdef extern from *:
    """
    enum {
        CHUNK = 131072,     /* bytes that stay in the second-level cache, of all chunks but those of wide rows */
        MAX_ROWS = 512,     /* of a chunk: what the kernels' rounding errors allow; its end costs as much as some twenty */
        PROBE_ROWS = 32,    /* of the first chunk of many */
        WIDE = 1024,        /* channels whose sums stay in the first-level cache: all that there is room for */
        SPREAD = 32768,     /* weights at most of a chunk, or of the lanes of some rows */
        SPREAD_ROWS = 32,   /* whose lanes, 64 to 1,024, are given their weights at a time */
        STRETCH = 2048,     /* elements of equal weight that are summed before they are multiplied, */
        STRETCH_ROWS = 24,  /* and rows of lanes */
        MAX_TRIES = 4       /* given shift, zero, mean, exact mean of a constant */
    };
    """
    enum:
        CHUNK
        MAX_ROWS
        PROBE_ROWS
        WIDE
        SPREAD
        SPREAD_ROWS
        STRETCH
        STRETCH_ROWS
        MAX_TRIES


cdef struct Block:
    # [rows, channels, run] elements; strides are in elements. Runs, and channels with runs of 1, are contiguous.
    const char *data
    Py_ssize_t rows, row_stride
    Py_ssize_t channels, channel_stride
    Py_ssize_t run
    const double *weights   # NULL, or one for each row; in the mode LONG_RUNS for each run, or element of the runs
    Py_ssize_t side         # contiguous rows that share each weight and lie side by side in the lanes, or 1
    bint by_run             # in the mode LONG_RUNS: whether the weights are those of runs
    bint stretched          # whether many neighbours weigh the same: then each such stretch is summed for itself
    double weight           # of all elements of a channel together, or how many there are


cdef struct Weights:
    # That of each item times a power of two, at most 1 then, neighbours in memory being `item` rows; what all that has
    # been merged weighs, in two words; [channels]: NaN where what weighs nothing is not finite, else 0.
    const char *values
    int kind
    Py_ssize_t itemsize
    double factor
    Py_ssize_t item
    double high, low
    double *poison


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
    double *weights         # [SPREAD]: of the rows of a chunk
    double *spread          # [SPREAD]: of lanes; or sums of what weighs the same
    Py_ssize_t *ends        # [SPREAD]: where stretches of equal weights end


cdef inline void fill_tile(const char *base, const Walk *walk, Py_ssize_t first, Py_ssize_t rows, Py_ssize_t channel,
                           Py_ssize_t group, const Scratch *scratch) noexcept nogil:
    if walk.itemsize == 2:
        gather[uint16_t](base, walk, first, rows, channel, group, <uint16_t *> scratch.tile)
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


cdef inline void sum_lanes(const Kernels *kernels, const Walk *walk, const char *data, Py_ssize_t stride,
                           Py_ssize_t rows, Py_ssize_t lanes, const double *shift, const double *weights,
                           Py_ssize_t copies, const Scratch *scratch) noexcept nogil:
    """weights: NULL, or that of each row; of `copies` rows that are taken as one, if these are more than one."""
    if weights == NULL:
        kernels.sums[walk.kind](data, stride, rows, lanes, shift, scratch.part, scratch.lane_sum,
                                scratch.lane_square)
        return
    cdef Py_ssize_t done = 0, count
    while copies > 1 and lanes > copies and done < rows:
        # So few at a time that their weights stay in the first-level cache.
        count = min(<Py_ssize_t> SPREAD_ROWS, rows - done)
        kernels.spread(weights + done * copies, count * copies, lanes // copies, scratch.spread)
        kernels.weighted_sums[walk.kind](data + done * stride * walk.itemsize, stride, count, lanes, shift,
                                         scratch.spread, lanes, scratch.part, scratch.lane_sum, scratch.lane_square)
        done += count
    if done == 0:
        kernels.weighted_sums[walk.kind](data, stride, rows, lanes, shift, weights, lanes if copies > 1 else 1,
                                         scratch.part, scratch.lane_sum, scratch.lane_square)


cdef inline Py_ssize_t copies_beside(const Block *block) noexcept nogil:
    """How many rows of a block lie side by side in the lanes."""
    cdef Py_ssize_t width = block.channels * block.run
    if block.side > 1:
        return block.side
    # One weight for a whole row is worth more than lanes that are even.
    if block.row_stride != width or (block.weights != NULL and width >= RUN_LANES):
        return 1
    return copies_of(width)


cdef inline void sum_contiguous(const Kernels *kernels, const Walk *walk, const Block *block, Py_ssize_t first,
                                Py_ssize_t count, bint shifted, const double *weights,
                                const Scratch *scratch) noexcept nogil:
    """Sums of `count` rows, [channels, run] each, as lane_sum and lane_square [channels, run]."""
    cdef Py_ssize_t width = block.channels * block.run
    cdef Py_ssize_t copies = copies_beside(block)
    cdef Py_ssize_t lanes = copies * width
    cdef Py_ssize_t stride = lanes if copies > 1 else block.row_stride
    cdef Py_ssize_t rows = count // copies
    cdef Py_ssize_t left = count - rows * copies
    cdef const char *data = block.data + first * block.row_stride * walk.itemsize
    cdef const double *shift = scratch.lane_shift if shifted else NULL
    kernels.clear(scratch.lane_sum, scratch.lane_square, lanes)
    sum_lanes(kernels, walk, data, stride, rows, lanes, shift, weights, copies if block.side == 1 else 1, scratch)
    if left:
        sum_lanes(kernels, walk, data + rows * lanes * walk.itemsize, lanes, 1, left * width, shift,
                  weights + rows * copies if weights != NULL else NULL, left, scratch)
    kernels.fold(scratch.lane_sum, scratch.lane_square, copies, width)


cdef inline void add_stretch(Py_ssize_t width, double weight, double *sums, const Scratch *scratch) noexcept nogil:
    cdef Py_ssize_t j
    cdef const double *total = scratch.lane_sum
    cdef const double *square = scratch.lane_square
    for j in range(width):
        sums[j] += weight * total[j]
    for j in range(width):
        sums[width + j] += weight * square[j]


cdef inline void sum_rows(const Kernels *kernels, const Walk *walk, const Block *block, const double *shift,
                   const Scratch *scratch) noexcept nogil:
    """Sums of a block whose rows are contiguous, [channels, run] each."""
    cdef Py_ssize_t width = block.channels * block.run
    cdef Py_ssize_t lanes = copies_beside(block) * width
    cdef Py_ssize_t c, j, k
    cdef Py_ssize_t first = 0, stretch = 0
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
    if block.stretched:
        memset(scratch.spread, 0, 2 * width * sizeof(double))
        while first * block.side < block.rows:
            sum_contiguous(kernels, walk, block, first * block.side, (scratch.ends[stretch] - first) * block.side,
                           shifted, NULL, scratch)
            add_stretch(width, block.weights[first], scratch.spread, scratch)
            first = scratch.ends[stretch]
            stretch += 1
        memcpy(scratch.lane_sum, scratch.spread, width * sizeof(double))
        memcpy(scratch.lane_square, scratch.spread + width, width * sizeof(double))
    else:
        sum_contiguous(kernels, walk, block, 0, block.rows, shifted, block.weights, scratch)
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


cdef inline void sum_run(const Kernels *kernels, const Walk *walk, const char *data, Py_ssize_t length,
                         const double *shift, const double *weights, const Scratch *scratch) noexcept nogil:
    """Adds those of a run to lane_sum and lane_square [RUN_LANES]; weights: NULL, or of each element."""
    cdef Py_ssize_t rows = length // RUN_LANES
    cdef Py_ssize_t left = length - rows * RUN_LANES
    if weights == NULL:
        sum_lanes(kernels, walk, data, RUN_LANES, rows, RUN_LANES, shift, NULL, 1, scratch)
        if left:
            sum_lanes(kernels, walk, data + rows * RUN_LANES * walk.itemsize, RUN_LANES, 1, left, shift, NULL, 1,
                      scratch)
        return
    kernels.weighted_sums[walk.kind](data, RUN_LANES, rows, RUN_LANES, shift, weights, RUN_LANES, scratch.part,
                                     scratch.lane_sum, scratch.lane_square)
    if left:
        kernels.weighted_sums[walk.kind](data + rows * RUN_LANES * walk.itemsize, RUN_LANES, 1, left, shift,
                                         weights + rows * RUN_LANES, left, scratch.part, scratch.lane_sum,
                                         scratch.lane_square)


cdef inline void sum_runs(const Kernels *kernels, const Walk *walk, const Block *block, const double *shift,
                   const Scratch *scratch) noexcept nogil:
    """Sums of a block whose runs are long enough to be summed one by one."""
    cdef Py_ssize_t c, i, j, count, stretch
    cdef const char *data
    cdef const double *lane_shift
    cdef const double *weights = block.weights
    for c in range(block.channels):
        lane_shift = NULL
        if shift[c] != 0.0:
            lane_shift = scratch.lane_shift
            for j in range(RUN_LANES):
                scratch.lane_shift[j] = shift[c]
        kernels.clear(scratch.lane_sum, scratch.lane_square, RUN_LANES)
        if block.stretched or block.by_run:
            memset(scratch.spread, 0, 2 * RUN_LANES * sizeof(double))
        stretch = 0
        for i in range(block.rows):
            data = block.data + (i * block.row_stride + c * block.channel_stride) * walk.itemsize
            if block.by_run:
                sum_run(kernels, walk, data, block.run, lane_shift, NULL, scratch)
                add_stretch(RUN_LANES, weights[i], scratch.spread, scratch)
                kernels.clear(scratch.lane_sum, scratch.lane_square, RUN_LANES)
                continue
            if not block.stretched:
                sum_run(kernels, walk, data, block.run, lane_shift,
                        weights + i * block.run if weights != NULL else NULL, scratch)
                continue
            j = i * block.run
            while j < (i + 1) * block.run:
                count = min(scratch.ends[stretch], (i + 1) * block.run) - j
                sum_run(kernels, walk, data, count, lane_shift, NULL, scratch)
                add_stretch(RUN_LANES, weights[j], scratch.spread, scratch)
                kernels.clear(scratch.lane_sum, scratch.lane_square, RUN_LANES)
                data += count * walk.itemsize
                j += count
                if j == scratch.ends[stretch]:
                    stretch += 1
        if block.stretched or block.by_run:
            memcpy(scratch.lane_sum, scratch.spread, RUN_LANES * sizeof(double))
            memcpy(scratch.lane_square, scratch.spread + RUN_LANES, RUN_LANES * sizeof(double))
        kernels.fold(scratch.lane_sum, scratch.lane_square, RUN_LANES, 1)
        scratch.sum[c] = scratch.lane_sum[0]
        scratch.square[c] = scratch.lane_square[0]


cdef inline void sum_block(const Kernels *kernels, const Walk *walk, const Block *block, const double *shift,
                           const Scratch *scratch) noexcept nogil:
    if walk.mode == LONG_RUNS:
        sum_runs(kernels, walk, block, shift, scratch)
    else:
        sum_rows(kernels, walk, block, shift, scratch)


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
    cdef Py_ssize_t n = block.channels
    cdef Py_ssize_t c
    cdef int tries = MAX_TRIES
    cdef Py_ssize_t step = block.channel_stride if walk.mode == LONG_RUNS else block.run
    cdef double value
    if block.weights != NULL and walk.kind == FLOAT64:
        # Products of weights and denormal numbers lose digits, and a constant would not be its own mean.
        for c in range(n):
            value = (<const double *> block.data)[c * step]
            if shift[c] == 0.0 and fabs(value) < TINY:
                shift[c] = value
    while True:
        sum_block(kernels, walk, block, shift, scratch)
        tries -= 1
        if kernels.settle(n, block.weight, shift, scratch.sum, scratch.square, mean, mean + MAX_LANES, variance) == 0:
            break
        if tries == 0:
            break
        for c in range(n):
            shift[c] = better_shift(shift[c], block.weight, scratch.sum[c], scratch.square[c])
    for c in range(n):
        shift[c] = next_shift(mean[c], variance[c])
    memset(mean + 3 * MAX_LANES, 0, n * sizeof(double))
    join(kernels, n, state, ld, done, mean, block.weight)


cdef inline void add_poison(const Kernels *kernels, const Walk *walk, const Block *block, double *poison,
                            const Scratch *scratch) noexcept nogil:
    """Of a block that weighs nothing: adds 0 for each channel, or NaN where something is not finite."""
    cdef Py_ssize_t c
    memset(scratch.state, 0, block.channels * sizeof(double))
    sum_block(kernels, walk, block, scratch.state, scratch)
    for c in range(block.channels):
        poison[c] += scratch.sum[c]


cdef inline double weight_of(const Weights *weights, Py_ssize_t item) noexcept nogil:
    if weights.kind == WEIGHT_FLOAT64:
        return (<const double *> weights.values)[item]
    return (<const float *> weights.values)[item]


cdef inline double take_weights(const Kernels *kernels, const Weights *weights, Py_ssize_t first, Py_ssize_t rows,
                                Py_ssize_t step, double *scale, Py_ssize_t *stretches,
                                const Scratch *scratch) noexcept nogil:
    """Writes the weight of every `step`-th of some rows, times a power of two by which none is very small.

    Without that the products with small squares would underflow. Returns what the rows weigh together; stretches: how
    many of equal weight they are.
    """
    cdef Py_ssize_t item = first // weights.item
    cdef Py_ssize_t place = first - item * weights.item
    cdef Py_ssize_t count = rows // step
    cdef Py_ssize_t i = 0, end
    cdef double value
    cdef double found[2]
    cdef int exponent
    if weights.item == step:
        stretches[0] = 1 + kernels.take[weights.kind](weights.values + item * weights.itemsize, count, weights.factor,
                                                      scratch.weights, found)
    else:
        while i < count:
            end = min(count, i + (weights.item - place) // step)
            value = weight_of(weights, item)
            while i < end:
                scratch.spread[i] = value
                i += 1
            place = 0
            item += 1
        stretches[0] = 1 + kernels.take[WEIGHT_FLOAT64](scratch.spread, count, weights.factor, scratch.weights, found)
    frexp(found[0], &exponent)
    scale[0] = 1.0
    if exponent < -100:
        scale[0] = ldexp(1.0, min(-exponent, 900))
        memcpy(scratch.spread, scratch.weights, count * sizeof(double))
        kernels.take[WEIGHT_FLOAT64](scratch.spread, count, scale[0], scratch.weights, found)
    return found[1] * step


cdef inline bint is_stretched(const Walk *walk, const Block *block, Py_ssize_t rows, Py_ssize_t group,
                              Py_ssize_t stretches) noexcept nogil:
    """Whether stretches are long enough to be summed for themselves, in elements and in rows of lanes."""
    cdef Py_ssize_t lanes = max(group * block.run * block.side, RUN_LANES)
    if walk.mode == LONG_RUNS:
        return rows >= stretches * STRETCH
    return rows * group >= stretches * max(<Py_ssize_t> STRETCH, STRETCH_ROWS * lanes)


cdef inline void find_stretches(Py_ssize_t count, const Scratch *scratch) noexcept nogil:
    """Writes where stretches of equal weights end."""
    cdef Py_ssize_t i, stretch = 0
    for i in range(1, count):
        if scratch.weights[i] != scratch.weights[i - 1]:
            scratch.ends[stretch] = i
            stretch += 1
    scratch.ends[stretch] = count


cdef inline void count_weight(Weights *weights, double weight) noexcept nogil:
    """Knuth's two-sum."""
    cdef double sum = weights.high + weight
    cdef double part = sum - weights.high
    cdef double rest = weights.low + ((weights.high - (sum - part)) + (weight - part))
    weights.high = sum + rest
    weights.low = rest - (weights.high - sum)


cdef inline void add_pair(const Kernels *kernels, const char *base, const Walk *walk, Py_ssize_t first, Py_ssize_t rows,
                          const Pair *pair) noexcept nogil:
    """Adds up rows of both arrays, of which those of the batch are still in the cache."""
    cdef Py_ssize_t size = walk.itemsize
    cdef Py_ssize_t start = first * walk.channels * size
    cdef Py_ssize_t whole = rows * walk.channels // pair.lanes
    cdef Py_ssize_t rest = rows * walk.channels - whole * pair.lanes
    kernels.lines[walk.kind](base + start, pair.data + start, whole, pair.lanes, pair.lanes, pair.line, pair.sums)
    if rest:
        start += whole * pair.lanes * size
        kernels.lines[walk.kind](base + start, pair.data + start, 1, rest, pair.lanes, pair.line, pair.sums)


cdef inline void accumulate(const Kernels *kernels, const char *base, const Walk *walk, Py_ssize_t first,
                     Py_ssize_t count, Py_ssize_t channel, Py_ssize_t channels, double done, double *state,
                     Py_ssize_t ld, const Scratch *scratch, const Pair *pair, Weights *weights) noexcept nogil:
    """Merges rows `first` to `first + count` of some channels into `state`, which holds `done` rows.

    pair: NULL, or another array of the same contiguous rows, summed beside them.
    weights: NULL, or those of a walk in order; what they add up to takes the place of the rows.
    """
    cdef Py_ssize_t size = walk.itemsize
    cdef Py_ssize_t fit = CHUNK // max(size, <Py_ssize_t> 4)
    cdef Py_ssize_t run = walk.size[walk.axes - 1]
    cdef Py_ssize_t inner = walk.stride[walk.axes - 1]
    cdef Py_ssize_t rows, outer, offset, group, c
    cdef Py_ssize_t limit = MAX_ROWS
    cdef Py_ssize_t stretches = 0
    cdef double scale = 1.0
    cdef Block block
    block.weights = NULL
    block.side = 1
    block.by_run = block.stretched = False
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
            c = 1
            if inner == channels * size and (weights == NULL or channels < RUN_LANES):
                c = copies_of(channels)
            if walk.grain > 1 and inner == channels * size:
                # These begin and end with whole weights; see `plan`.
                block.side = c = walk.grain
            rows = min(c * limit, count)
            block.row_stride = inner // size
        elif walk.mode == GATHERED:
            # Channels that lie closer together than rows are gathered together.
            group = min(channels, <Py_ssize_t> 256)
            if walk.count > 1 and max(inner, -inner) < max(walk.channel_stride, -walk.channel_stride):
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
                rows = run * min(limit, count // run)
            else:
                block.run = rows = min(min(count, run - offset), min(fit, limit * RUN_LANES))
                if block.run == run:
                    rows *= min(max(fit // (run * channels), <Py_ssize_t> 1), count // run)
                group = min(max(fit // rows, <Py_ssize_t> 1), <Py_ssize_t> MAX_LANES)
        if weights != NULL:
            block.by_run = walk.mode == LONG_RUNS and weights.item % run == 0
            c = block.run if walk.mode == SHORT_RUNS or block.by_run else block.side
            block.weight = take_weights(kernels, weights, first, rows, c, &scale, &stretches, scratch)
            block.weights = scratch.weights
            block.stretched = not block.by_run and is_stretched(walk, &block, rows, group, stretches)
            if block.stretched:
                find_stretches(rows // c, scratch)
        else:
            block.weight = <double> rows
        block.rows = rows // block.run
        c = 0
        while c < channels:
            block.channels = min(group, channels - c)
            if walk.mode == GATHERED:
                fill_tile(base, walk, first, rows, channel + c, block.channels, scratch)
                block.data = scratch.tile
                block.row_stride = block.channels
            else:
                block.data = base + (channel + c) * walk.channel_stride
                if walk.mode == ROWS or walk.axes > 1:
                    block.data += outer * walk.stride[0]
                if walk.mode != ROWS:
                    block.data += offset * size
            if block.weight == 0.0:
                add_poison(kernels, walk, &block, weights.poison + c, scratch)
            else:
                add_block(kernels, walk, &block, scratch.shift + c, done * scale, state + c, ld, scratch)
            c += block.channels
        if pair != NULL:
            add_pair(kernels, base, walk, first, rows, pair)
        first += rows
        count -= rows
        if weights == NULL:
            done += rows
        else:
            count_weight(weights, block.weight / scale)
            done = weights.high
        limit = MAX_ROWS
