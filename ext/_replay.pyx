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


def totals(const real[:, ::1] state not None, Py_ssize_t count, real[:, ::1] out not None):
    """Write the sums [sums, channels] of the `count` rows that `state` took to `out`."""
    cdef Py_ssize_t i, first, width, slot, c
    cdef int order
    cdef const real *band
    if state.shape[0] != SLOTS or out.shape[0] != SUMS or out.shape[1] != state.shape[1]:
        raise ValueError("State and result must have the same channels.")
    out[:, :] = 0
    with nogil:
        for i in range((out.shape[1] + BAND - 1) // BAND):
            first = i * BAND
            width = min(<Py_ssize_t> BAND, out.shape[1] - first)
            band = &state[0, 0] + first * SLOTS
            for order in range(SUMS):
                for slot in range(SUM_SLOTS[order]):
                    if order == PAIRWISE and not (count >> slot) & 1:
                        continue
                    for c in range(width):
                        out[order, first + c] += band[(FIRST_SLOT[order] + slot) * width + c]


def welford_moments(real[:, ::1] state not None, Py_ssize_t count, real[:, :, ::1] out not None):
    """Write Welford's means and sums of squared deviations [2, welfords, channels] of `count` rows to `out`.

    Lanes are merged in `state`, into the first, by the pairwise update.
    """
    cdef Py_ssize_t i, first, width, lane, lanes, c
    cdef int order
    cdef real *means
    cdef real *squares
    cdef real merged, added, share, d
    if not (state.shape[0] == SLOTS and out.shape[0] == 2 and out.shape[1] == WELFORDS
            and out.shape[2] == state.shape[1]):
        raise ValueError("State and result must have the same channels.")
    with nogil:
        for i in range((out.shape[2] + BAND - 1) // BAND):
            first = i * BAND
            width = min(<Py_ssize_t> BAND, out.shape[2] - first)
            for order in range(WELFORDS):
                lanes = WELFORD_SLOTS[order]
                means = &state[0, 0] + first * SLOTS + FIRST_WELFORD_SLOT[order] * width
                squares = means + lanes * width
                merged = <real> ((count + lanes - 1) // lanes)
                for lane in range(1, min(lanes, count)):
                    added = <real> ((count + lanes - 1 - lane) // lanes)
                    share = added / (merged + added)
                    for c in range(width):
                        d = means[lane * width + c] - means[c]
                        means[c] += d * share
                        squares[c] += squares[lane * width + c] + d * d * (merged * share)
                    merged += added
                for c in range(width):
                    out[0, order, first + c] = means[c]
                    out[1, order, first + c] = squares[c]
