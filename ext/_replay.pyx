"""Orders of summation, run in the dtype that a layer sums in, for `tf1bn.checker.summation`, which documents them.

Rows arrive in blocks [rows, channels]; a state [slots, channels] carries what an order remembers between them.
"""

cdef extern from *:
    const char *TF1BN_VERSION
    const char *TF1BN_SOURCE_HASH

version = TF1BN_VERSION.decode("ascii")
source_hash = TF1BN_SOURCE_HASH.decode("ascii")

ctypedef fused real:
    float
    double

cpdef enum Term:
    VALUE
    DEVIATION  # from the center
    SQUARE  # of the deviation

cpdef enum Order:
    IN_ORDER  # one accumulator, from the first row to the last
    BLOCKED  # blocks of consecutive rows, each in order, and then their sums in order
    LANES  # row i goes to accumulator i mod slots; then the accumulators in order
    PAIRWISE  # a binary tree


def add(const real[:, ::1] rows not None, const real[::1] weights, const real[::1] center not None, Term term,
        Order order, Py_ssize_t first, Py_ssize_t length, real[:, ::1] state not None):
    """Add a term of each of the rows `first` and on to `state`, times their weights.

    state: [1, C] in order, [2, C] blocked with blocks of `length` rows, [any, C] lanes, [64, C] pairwise; at first 0.
    """
    cdef Py_ssize_t r, c, slot, index
    cdef Py_ssize_t channels = rows.shape[1]
    cdef Py_ssize_t slots = state.shape[0]
    cdef real d
    cdef real w = 1
    cdef bint weighted = weights is not None
    if center.shape[0] != channels or state.shape[1] != channels or (weighted and weights.shape[0] != rows.shape[0]):
        raise ValueError("Rows, weights, center and state must fit each other.")
    if slots < (64 if order == PAIRWISE else 2 if order == BLOCKED else 1) or length < 1 or first < 0:
        raise ValueError("The state has too few slots for its order.")
    with nogil:
        for r in range(rows.shape[0]):
            if weighted:
                w = weights[r]
            slot = (first + r) % slots if order == LANES else 0
            if order == BLOCKED and (first + r) % length == 0:
                for c in range(channels):
                    state[1, c] += state[0, c]
                    state[0, c] = 0
            if order == PAIRWISE:
                # Slot k waits for a partner: the sum of 2**k rows. Slot 63 is where the carry travels.
                slot = 63
                for c in range(channels):
                    state[63, c] = 0
            # The tests stand outside the loops over channels, which the compiler then vectorizes.
            if term == SQUARE and weighted:
                for c in range(channels):
                    d = rows[r, c] - center[c]
                    state[slot, c] += w * (d * d)
            elif term == SQUARE:
                for c in range(channels):
                    d = rows[r, c] - center[c]
                    state[slot, c] += d * d
            elif term == DEVIATION:
                for c in range(channels):
                    state[slot, c] += w * (rows[r, c] - center[c])
            elif weighted:
                for c in range(channels):
                    state[slot, c] += w * rows[r, c]
            else:
                for c in range(channels):
                    state[slot, c] += rows[r, c]
            if order == PAIRWISE:
                index = first + r
                slot = 0
                while index & 1:
                    for c in range(channels):
                        state[63, c] += state[slot, c]
                    index >>= 1
                    slot += 1
                for c in range(channels):
                    state[slot, c] = state[63, c]


def total(Order order, const real[:, ::1] state not None, Py_ssize_t count, real[::1] out not None):
    """Write the sum of the `count` rows that `state` took to `out`."""
    cdef Py_ssize_t slot, c
    cdef Py_ssize_t slots = state.shape[0]
    if out.shape[0] != state.shape[1]:
        raise ValueError("State and result must have the same channels.")
    with nogil:
        for c in range(out.shape[0]):
            out[c] = 0
        for slot in range(min(slots, 62) if order == PAIRWISE else slots):
            if order == PAIRWISE and not (count >> slot) & 1:
                continue
            for c in range(out.shape[0]):
                out[c] += state[slot, c]


def welford(const real[:, ::1] rows not None, Py_ssize_t first, real[:, :, ::1] state not None):
    """Welford's update of `state` [lanes, 2, C], means and sums of squared deviations; row i goes to lane i mod lanes."""
    cdef Py_ssize_t r, c, lane
    cdef Py_ssize_t lanes = state.shape[0]
    cdef real d, k
    if state.shape[1] != 2 or state.shape[2] != rows.shape[1] or lanes < 1 or first < 0:
        raise ValueError("Rows and state must fit each other.")
    with nogil:
        for r in range(rows.shape[0]):
            lane = (first + r) % lanes
            k = <real> ((first + r) // lanes + 1)
            for c in range(rows.shape[1]):
                d = rows[r, c] - state[lane, 0, c]
                state[lane, 0, c] += d / k
                state[lane, 1, c] += d * (rows[r, c] - state[lane, 0, c])


def merge_lanes(real[:, :, ::1] state not None, Py_ssize_t count):
    """Merge all lanes of Welford's `state` into the first, by the pairwise update; `count` rows in all."""
    cdef Py_ssize_t lane, c
    cdef Py_ssize_t lanes = state.shape[0]
    cdef real merged, added, share, d
    if lanes < 1 or state.shape[1] != 2:
        raise ValueError("The state must have lanes of two rows.")
    with nogil:
        merged = <real> ((count + lanes - 1) // lanes)
        for lane in range(1, min(lanes, count)):
            added = <real> ((count + lanes - 1 - lane) // lanes)
            share = added / (merged + added)
            for c in range(state.shape[2]):
                d = state[lane, 0, c] - state[0, 0, c]
                state[0, 0, c] += d * share
                state[0, 1, c] += state[lane, 1, c] + d * d * (merged * share)
            merged += added
