"""Orders of summation, run in the dtype that a layer sums in, for `tf1bn.checker.summation`, which documents them.

Rows arrive in blocks [rows, channels]; a state carries what the orders remember between them.
"""

cdef extern from *:
    const char *TF1BN_VERSION
    const char *TF1BN_SOURCE_HASH

cdef extern from "replay_kernels.h":
    enum:
        MAX_VARIANTS
        BAND
        PAIRWISE
        SUMS
        WELFORDS
        SLOTS
    const int SUM_SLOTS[SUMS]
    const int FIRST_SLOT[SUMS]
    const int WELFORD_SLOTS[WELFORDS]
    const int FIRST_WELFORD_SLOT[WELFORDS]
    ctypedef struct Rows:
        const void *front
        const void *back
        const void *front_weights
        const void *back_weights
        const void *centers
        Py_ssize_t rows, channels, first, length
        int welford
    ctypedef struct Kernels:
        const char *name
        void take_float(const Rows *, float *) noexcept nogil
        void take_double(const Rows *, double *) noexcept nogil
    int find_kernels(const Kernels **)

version = TF1BN_VERSION.decode("ascii")
source_hash = TF1BN_SOURCE_HASH.decode("ascii")

cdef const Kernels *KERNELS[MAX_VARIANTS]
cdef int KERNEL_COUNT = find_kernels(KERNELS)
variants = tuple([KERNELS[i].name.decode("ascii") for i in range(KERNEL_COUNT)])
slots = SLOTS  # of the state, for each channel
sums = SUMS
welfords = WELFORDS
cdef enum:
    ORDERS = SUMS + WELFORDS

ctypedef fused real:
    float
    double


def take(const real[:, ::1] front not None, const real[:, ::1] back not None, const real[::1] front_weights,
         const real[::1] back_weights, const real[:, ::1] centers, Py_ssize_t first, Py_ssize_t length, bint welford,
         real[:, ::1] state not None, str variant=None):
    """Take rows into all orders.

    front, back: [rows, channels], those that follow from the batch's first row on, and as many from its last on; both
    in the batch's order. front_weights, back_weights: one for each row, or None.
    centers: [sums - 1, channels], for sums of squares of deviations from these, and as the last of the sums that of the
    deviations from the first of them; None for sums of the values.
    first: how many rows were taken before. length: of the blocks of rows that are summed by themselves.
    welford: whether Welford's updates are made, too. state: [slots, channels], at first 0.
    variant: the name of the kernels to use, one of `variants`; None for the fastest.
    """
    cdef Rows step
    cdef const Kernels *own = KERNELS[0]
    cdef Py_ssize_t rows = front.shape[0], channels = front.shape[1]
    if variant is not None:
        if variant not in variants:
            raise ValueError(f"This machine has no variant {variant!r}; it has {', '.join(variants)}.")
        own = KERNELS[<Py_ssize_t> variants.index(variant)]
    if (back.shape[0] != rows or back.shape[1] != channels or state.shape[0] != SLOTS or state.shape[1] != channels
            or (centers is not None and (centers.shape[0] != SUMS - 1 or centers.shape[1] != channels))
            or (front_weights is None) != (back_weights is None)
            or (front_weights is not None and not front_weights.shape[0] == back_weights.shape[0] == rows)):
        raise ValueError("Rows, weights, centers and state must fit each other.")
    if length < 1 or first < 0:
        raise ValueError("`length` must be at least 1 and `first` at least 0.")
    if rows == 0 or channels == 0:
        return
    step.front, step.back = &front[0, 0], &back[0, 0]
    step.front_weights = step.back_weights = step.centers = NULL
    if front_weights is not None:
        step.front_weights, step.back_weights = &front_weights[0], &back_weights[0]
    if centers is not None:
        step.centers = &centers[0, 0]
    step.rows, step.channels, step.first, step.length, step.welford = rows, channels, first, length, welford
    with nogil:
        if real is float:
            own.take_float(&step, &state[0, 0])
        else:
            own.take_double(&step, &state[0, 0])


cdef void add_totals(const real *state, Py_ssize_t channels, Py_ssize_t count, real *out) noexcept nogil:
    """Write the sums [SUMS, channels] of the `count` rows that `state` took to `out`."""
    cdef Py_ssize_t i, first, width, slot, c
    cdef int order
    cdef const real *band
    for i in range(SUMS * channels):
        out[i] = 0
    for i in range((channels + BAND - 1) // BAND):
        first = i * BAND
        width = min(<Py_ssize_t> BAND, channels - first)
        band = state + first * SLOTS
        for order in range(SUMS):
            for slot in range(SUM_SLOTS[order]):
                if order == PAIRWISE and not (count >> slot) & 1:
                    continue
                for c in range(width):
                    out[order * channels + first + c] += band[(FIRST_SLOT[order] + slot) * width + c]


cdef void merge_lanes(real *state, Py_ssize_t channels, Py_ssize_t count, real *means, real *squares) noexcept nogil:
    """Write Welford's means and sums of squared deviations [WELFORDS, channels] of `count` rows.

    Lanes are merged in `state`, into the first, by the pairwise update.
    """
    cdef Py_ssize_t i, first, width, lane, lanes, c
    cdef int order
    cdef real *own
    cdef real *own_squares
    cdef real merged, added, share, d
    for i in range((channels + BAND - 1) // BAND):
        first = i * BAND
        width = min(<Py_ssize_t> BAND, channels - first)
        for order in range(WELFORDS):
            lanes = WELFORD_SLOTS[order]
            own = state + first * SLOTS + FIRST_WELFORD_SLOT[order] * width
            own_squares = own + lanes * width
            merged = <real> ((count + lanes - 1) // lanes)
            for lane in range(1, min(lanes, count)):
                added = <real> ((count + lanes - 1 - lane) // lanes)
                share = added / (merged + added)
                for c in range(width):
                    d = own[lane * width + c] - own[c]
                    own[c] += d * share
                    own_squares[c] += own_squares[lane * width + c] + d * d * (merged * share)
                merged += added
            for c in range(width):
                means[order * channels + first + c] = own[c]
                squares[order * channels + first + c] = own_squares[c]


cdef bint fit(Py_ssize_t slots, Py_ssize_t channels, Py_ssize_t divisors, Py_ssize_t pair, Py_ssize_t orders,
              Py_ssize_t out_channels) noexcept:
    return slots == SLOTS and divisors == SUMS - 1 and pair == 2 and orders == ORDERS and channels == out_channels


def totals(const real[:, ::1] state not None, Py_ssize_t count, real[:, ::1] out not None):
    """Write the sums [sums, channels] of the `count` rows that `state` took to `out`."""
    if state.shape[0] != SLOTS or out.shape[0] != SUMS or out.shape[1] != state.shape[1]:
        raise ValueError("State and result must have the same channels.")
    if out.shape[1] == 0:
        return
    with nogil:
        add_totals(&state[0, 0], state.shape[1], count, &out[0, 0])


def means(real[:, ::1] state not None, Py_ssize_t count, const real[::1] divisors not None, bint welford,
          real[:, :, ::1] out not None):
    """Write the means of all orders but the shifted one to `out`, and Welford's variances, if it has been updated.

    state: after `count` rows; Welford's lanes are merged in it. divisors: [sums - 1], of the sums.
    out: [2, sums + welfords, channels], means and variances.
    """
    cdef Py_ssize_t order, c, channels = state.shape[1]
    if not fit(state.shape[0], channels, divisors.shape[0], out.shape[0], out.shape[1], out.shape[2]):
        raise ValueError("State, divisors and result must fit each other.")
    if channels == 0:
        return
    with nogil:
        add_totals(&state[0, 0], channels, count, &out[0, 0, 0])
        for order in range(SUMS - 1):
            for c in range(channels):
                out[0, order, c] /= divisors[order]
        if welford:
            merge_lanes(&state[0, 0], channels, count, &out[0, SUMS, 0], &out[1, SUMS, 0])
            for order in range(SUMS, ORDERS):
                for c in range(channels):
                    out[1, order, c] /= divisors[0]


def variances(const real[:, ::1] state not None, Py_ssize_t count, const real[::1] divisors not None, bint welford,
              bint squares, real[:, :, ::1] out not None):
    """Write the variances that `means` has not written, and the shifted mean, to `out`.

    state: after the second pass. squares: whether its centers were 0, so that the mean's square is subtracted. What has
    not been summed repeats the first order.
    """
    cdef Py_ssize_t order, c, channels = state.shape[1]
    cdef real rest
    if not fit(state.shape[0], channels, divisors.shape[0], out.shape[0], out.shape[1], out.shape[2]):
        raise ValueError("State, divisors and result must fit each other.")
    if channels == 0:
        return
    with nogil:
        add_totals(&state[0, 0], channels, count, &out[1, 0, 0])
        for order in range(SUMS - 1):
            for c in range(channels):
                out[1, order, c] /= divisors[order]
                if squares:
                    out[1, order, c] -= out[0, order, c] * out[0, order, c]
        for c in range(channels):
            if squares:
                out[0, SUMS - 1, c], out[1, SUMS - 1, c] = out[0, 0, c], out[1, 0, c]
            else:
                rest = out[1, SUMS - 1, c] / divisors[0]
                out[0, SUMS - 1, c], out[1, SUMS - 1, c] = out[0, 0, c] + rest, out[1, 0, c] - rest * rest
        if not welford:
            for order in range(SUMS, ORDERS):
                for c in range(channels):
                    out[0, order, c], out[1, order, c] = out[0, 0, c], out[1, 0, c]
