"""The moving recurrence and how far a correct layer can be from it, in float64 and without the GIL.

`tf1bn.checker.moving_stats` checks every argument; docs/design/error-bounds.md derives the formulas.
"""

from libc.math cimport NAN
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    const char *TF1BN_VERSION
    const char *TF1BN_SOURCE_HASH

cdef extern from "moving_kernels.h":
    const double ROUNDING
    enum:
        MAX_VARIANTS
        MOST_FORMS
        MOST_ROWS
        RUNS_ROW
        TILE
    ctypedef struct Form:
        int weighted
        double keep
        double rate
        int bits
    ctypedef struct Step:
        double keep, keep_low, rate, rate_low, slack, keep_slack
        int recurrence
        Form forms[12]
        int form_count
        double unit, smallest
        int bits
        double sum_unit, sum_smallest
        int sum_bits
        double count
        int weighted, bessel, squares
        double deviations, input_error
    ctypedef struct Terms:
        double unit, sums
        int squares
    ctypedef struct Kernels:
        const char *name
        void start(Py_ssize_t, const double *, int, int, double *, Py_ssize_t) noexcept nogil
        void advance(Py_ssize_t, const Step *, int, const double *, const double *, double *, double *,
                     Py_ssize_t) noexcept nogil
        void predict(Py_ssize_t, const Step *, const double *, const double *, const double *, const double *,
                     double *, double *, Py_ssize_t) noexcept nogil
        void bounds(Py_ssize_t, int, double, const double *, Py_ssize_t, double *, double *) noexcept nogil
        double largest_share(Py_ssize_t, const double *, const double *, const double *) noexcept nogil
        Py_ssize_t worst_channel(Py_ssize_t, const double *, const double *, const double *) noexcept nogil
        int terms(Py_ssize_t, const Terms *, const double **, double **, double *) noexcept nogil
    int find_kernels(const Kernels **)

version = TF1BN_VERSION.decode("ascii")
source_hash = TF1BN_SOURCE_HASH.decode("ascii")
rounding = ROUNDING

cdef const Kernels *KERNELS[MAX_VARIANTS]
cdef int KERNEL_COUNT = find_kernels(KERNELS)
variants = tuple([KERNELS[i].name.decode("ascii") for i in range(KERNEL_COUNT)])


cpdef enum Figure:
    # What is carried from step to step for one statistic, a double for each channel.
    VALUE  # expected
    VALUE_LOW  # its low-order word: the sum of the two is good to 2^-100 of the terms that went into it
    WORST  # worst-case error
    LINEAR  # errors of one sign
    COHERENT  # standard error of the batches that were the same as the last one
    SQUARE  # squared standard error of the others
    BATCHES  # what the batches contributed to the expected value
    BESSEL  # how far the other convention would have taken the variance
    RUNS  # this one and those after it: what layers of the dtype make of exact moments, one for each form


cpdef enum Recurrence:
    DIFFERENCE = 1  # a -= (a - m) * r
    WEIGHTED_SUM = 2  # a = a * d + m * r


cdef const Kernels *kernels(str variant) except NULL:
    """The kernels of that name; the fastest if it is None."""
    if variant is None:
        return KERNELS[0]
    if variant not in variants:
        raise ValueError(f"This machine has no variant {variant!r}; it has {', '.join(variants)}.")
    return KERNELS[<Py_ssize_t> variants.index(variant)]


cdef class Steps:
    """Steps of layers with the same settings, rate and count.

    keep, rate: the weights of the old value and of the batch, as two numbers each, whose sums add up to exactly 1.
    slack, keep_slack: how far off a layer's rate and weight of the old value can be. recurrence: of `Recurrence`, or
    both. forms: for each form of a layer's recurrence its own weight of the old value, None if it takes the difference,
    its own rate, and the bits of significand of the type that it computes in.
    sum_unit, sum_smallest, sum_bits: unit roundoff, smallest number and bits of significand of the type that the
    layer sums in; the next three those of the type it stores. deviations: how many standard errors count as expected.
    input_error: how far off the inputs that the moments are of can be, in units of their root mean square.
    squares: whether the layer takes the variance as E[x^2] - E[x]^2.
    variant: the name of the kernels to use, one of `variants`; None for the fastest.
    """

    cdef Step step
    cdef const Kernels *own

    def __init__(self, double count, *, bint weighted, bint bessel, keep, rate, double slack, double keep_slack,
                 forms, int recurrence, double sum_unit, double sum_smallest, int sum_bits,
                 double unit, double smallest, int bits, double deviations, double input_error=0.0,
                 bint squares=False, str variant=None):
        cdef Py_ssize_t i
        self.own = kernels(variant)
        self.step.form_count = len(forms)
        if self.step.form_count > MOST_FORMS:
            raise ValueError(f"There must be at most {MOST_FORMS} forms.")
        self.step.keep, self.step.keep_low = keep
        self.step.rate, self.step.rate_low = rate
        self.step.slack, self.step.keep_slack = slack, keep_slack
        for i in range(self.step.form_count):
            own_keep, own_rate, own_bits = forms[i]
            self.step.forms[i].weighted = own_keep is not None
            self.step.forms[i].keep = NAN if own_keep is None else own_keep
            self.step.forms[i].rate = own_rate
            self.step.forms[i].bits = own_bits
        self.step.recurrence = recurrence
        self.step.unit, self.step.smallest, self.step.bits = unit, smallest, bits
        self.step.sum_unit, self.step.sum_smallest, self.step.sum_bits = sum_unit, sum_smallest, sum_bits
        self.step.count, self.step.weighted, self.step.bessel, self.step.squares = count, weighted, bessel, squares
        self.step.deviations, self.step.input_error = deviations, input_error

    def advance(self, double[:, :, ::1] stats not None, const double[:, ::1] mean not None,
                const double[:, ::1] variance not None, const unsigned char[::1] repeated not None):
        """Take one step after the other.

        stats: [2, figures, channels], the figures of `Figure` of the mean and of the variance, with as many RUNS as
        forms. mean, variance: [steps, channels]. repeated: for each step, whether its batch is that of the step before.
        """
        cdef Py_ssize_t s, first, width
        cdef Py_ssize_t channels = stats.shape[2]
        if not (stats.shape[0] == 2 and channels == mean.shape[1] == variance.shape[1]
                and mean.shape[0] == variance.shape[0] == repeated.shape[0]
                and stats.shape[1] == RUNS_ROW + self.step.form_count):
            raise ValueError("The statistics must be [2, figures, channels], and the moments [steps, channels], the same "
                             "channels.")
        with nogil:
            first = 0
            while first < channels:
                width = min(<Py_ssize_t> TILE, channels - first)
                for s in range(mean.shape[0]):
                    self.own.advance(width, &self.step, repeated[s], &mean[s, first], &variance[s, first],
                                     &stats[0, 0, first], &stats[1, 0, first], channels)
                first += width

    def predict(self, const double[:, ::1] before not None, const double[::1] mean not None,
                const double[::1] variance not None, double[:, :, ::1] out not None):
        """One step from these statistics, [2, values], with moments [values].

        out: [3, 2, values], is filled with the expected values, the expected error and the worst case.
        """
        cdef Py_ssize_t first, width, i
        cdef Py_ssize_t values = before.shape[1]
        cdef double figures[2][MOST_ROWS * TILE]
        if not (before.shape[0] == 2 and values == mean.shape[0] == variance.shape[0] == out.shape[2]
                and out.shape[0] == 3 and out.shape[1] == 2):
            raise ValueError("The statistics must be [2, values], the moments [values], and the result [3, 2, values].")
        with nogil:
            first = 0
            while first < values:
                width = min(<Py_ssize_t> TILE, values - first)
                self.own.predict(width, &self.step, &mean[first], &variance[first], &before[0, first],
                                 &before[1, first], figures[0], figures[1], TILE)
                for i in range(2):
                    memcpy(&out[0, i, first], figures[i], width * sizeof(double))
                    self.own.bounds(width, self.step.form_count, self.step.deviations, figures[i], TILE,
                                    &out[1, i, first], &out[2, i, first])
                first += width

    def shares(self, const double[:, :, ::1] before not None, const double[:, :, ::1] after not None,
               const double[:, ::1] mean not None, const double[:, ::1] variance not None,
               double[:, ::1] out not None):
        """How well one step each predicts the statistics after it from those before, [2, steps, channels].

        mean, variance: the moments, [steps, channels]. out: [2, steps], is filled with the largest error of mean and
        variance in units of the expected error; NaN if one is not within it, or something is not finite.
        """
        cdef Py_ssize_t first, width, i, s
        cdef Py_ssize_t count = before.shape[1], channels = before.shape[2]
        cdef double figures[2][MOST_ROWS * TILE]
        cdef double expected[TILE]
        cdef double worst[TILE]
        cdef double share
        if not (before.shape[0] == after.shape[0] == out.shape[0] == 2 and after.shape[2] == channels
                and mean.shape[1] == variance.shape[1] == channels
                and after.shape[1] == mean.shape[0] == variance.shape[0] == out.shape[1] == count):
            raise ValueError("The statistics must be [2, steps, channels], the moments [steps, channels], and the result "
                             "[2, steps].")
        with nogil:
            for s in range(count):
                out[0, s] = out[1, s] = 0.0
                first = 0
                while first < channels:
                    width = min(<Py_ssize_t> TILE, channels - first)
                    self.own.predict(width, &self.step, &mean[s, first], &variance[s, first], &before[0, s, first],
                                     &before[1, s, first], figures[0], figures[1], TILE)
                    for i in range(2):
                        self.own.bounds(width, self.step.form_count, self.step.deviations, figures[i], TILE, expected,
                                        worst)
                        share = self.own.largest_share(width, &after[i, s, first], figures[i], expected)
                        if not share <= out[i, s] and out[i, s] == out[i, s]:
                            out[i, s] = share
                    first += width


def terms(const double[:, :, ::1] before not None, const double[:, :, ::1] after not None,
          const double[:, ::1] mean not None, const double[:, ::1] variance not None, double unit, double sums,
          bint squares, double[:, :, ::1] out not None, str variant=None):
    """What `evidence.estimators` sums over the channels, of statistics [2, steps, channels] and moments [steps, channels].

    unit: the unit roundoff of the statistics. sums: what the sums over a batch can lose relatively. squares: whether the
    variance is a difference of squares. out: [5, steps, channels], is filled as ext/moving_isa.h says.

    Returns whether all that is summed is finite, and the largest |mean| in deviations, infinite where one is no number.
    """
    cdef const Kernels *own = kernels(variant)
    cdef Terms settings
    cdef Py_ssize_t first, width, i, s
    cdef Py_ssize_t count = before.shape[1], channels = before.shape[2]
    cdef const double *given[6]
    cdef double *results[5]
    cdef double ratio, largest = 0.0
    cdef bint finite = True
    if not (before.shape[0] == after.shape[0] == 2 and out.shape[0] == 5
            and after.shape[2] == mean.shape[1] == variance.shape[1] == out.shape[2] == channels
            and after.shape[1] == mean.shape[0] == variance.shape[0] == out.shape[1] == count):
        raise ValueError("The statistics must be [2, steps, channels], the moments [steps, channels], and the result "
                         "[5, steps, channels].")
    settings.unit, settings.sums, settings.squares = unit, sums, squares
    with nogil:
        for s in range(count):
            first = 0
            while first < channels:
                width = min(<Py_ssize_t> TILE, channels - first)
                given[0], given[1] = &mean[s, first], &variance[s, first]
                for i in range(2):
                    given[2 + 2 * i], given[3 + 2 * i] = &before[i, s, first], &after[i, s, first]
                for i in range(5):
                    results[i] = &out[i, s, first]
                if not own.terms(width, &settings, given, results, &ratio):
                    finite = False
                largest = max(largest, ratio)
                first += width
    return finite, largest


def fingerprints(const uint64_t[:, :, ::1] bits not None, const uint64_t[:, ::1] weights not None,
                 uint64_t[::1] out not None):
    """Fill ``out`` [steps] with sums of the bits of numbers [2, steps, channels], times odd weights [2, channels].

    Modulo 2^64. The low bits of a float32 number in float64 are 0 and would stay so, so the high ones are mixed in.
    """
    cdef Py_ssize_t i, s, c
    cdef uint64_t total, word
    if not (bits.shape[0] == weights.shape[0] == 2 and bits.shape[1] == out.shape[0]
            and bits.shape[2] == weights.shape[1]):
        raise ValueError("The numbers must be [2, steps, channels], the weights [2, channels], and the result [steps].")
    with nogil:
        for s in range(out.shape[0]):
            total = 0
            for i in range(2):
                for c in range(bits.shape[2]):
                    word = bits[i, s, c]
                    total += (word ^ (word >> 32)) * weights[i, c]
            out[s] = total


def start(const double[:, ::1] values not None, int bits, double[:, :, ::1] stats not None, str variant=None):
    """Fill the figures [2, figures, channels] before the first step, of values [2, channels].

    bits: those of the significand of the type that the layer holds them in.
    """
    cdef const Kernels *own = kernels(variant)
    cdef Py_ssize_t i
    if not (values.shape[0] == stats.shape[0] == 2 and values.shape[1] == stats.shape[2]
            and RUNS_ROW <= stats.shape[1] <= MOST_ROWS):
        raise ValueError("The values must be [2, channels], and the statistics [2, figures, channels].")
    if values.shape[1]:
        with nogil:
            for i in range(2):
                own.start(values.shape[1], &values[i, 0], bits, <int> (stats.shape[1] - RUNS_ROW), &stats[i, 0, 0],
                          stats.shape[2])


def bounds(const double[:, :, ::1] stats not None, double deviations, double[:, :, ::1] out not None,
           str variant=None):
    """Fill ``out`` [2, 2, channels] with the expected error and the worst case of statistics [2, figures, channels]."""
    cdef const Kernels *own = kernels(variant)
    cdef Py_ssize_t i
    if not (out.shape[0] == out.shape[1] == stats.shape[0] == 2 and out.shape[2] == stats.shape[2]
            and RUNS_ROW <= stats.shape[1] <= MOST_ROWS):
        raise ValueError("The statistics must be [2, figures, channels], and the result [2, 2, channels].")
    if stats.shape[2]:
        with nogil:
            for i in range(2):
                own.bounds(stats.shape[2], <int> (stats.shape[1] - RUNS_ROW), deviations, &stats[i, 0, 0],
                           stats.shape[2], &out[0, i, 0], &out[1, i, 0])


def largest_shares(const double[:, ::1] observed not None, const double[:, ::1] expected not None,
                   const double[:, ::1] bound not None, double[::1] out not None, str variant=None):
    """For each row of [rows, channels], the largest error divided by its bound; NaN if one is not within its bound."""
    cdef const Kernels *own = kernels(variant)
    cdef Py_ssize_t i
    if not (observed.shape[0] == expected.shape[0] == bound.shape[0] == out.shape[0]
            and observed.shape[1] == expected.shape[1] == bound.shape[1] > 0):
        raise ValueError("The values must be [rows, channels], and the result [rows].")
    with nogil:
        for i in range(out.shape[0]):
            out[i] = own.largest_share(observed.shape[1], &observed[i, 0], &expected[i, 0], &bound[i, 0])


def worst_channels(const double[:, ::1] observed not None, const double[:, ::1] expected not None,
                   const double[:, ::1] bound not None, str variant=None):
    """For each row of [rows, channels], the first channel with the largest error divided by its bound; a list.

    None if an error is not within its bound, or something is not finite.
    """
    cdef const Kernels *own = kernels(variant)
    cdef Py_ssize_t i, channel
    if not (observed.shape[0] == expected.shape[0] == bound.shape[0]
            and observed.shape[1] == expected.shape[1] == bound.shape[1] > 0):
        raise ValueError("The values must be [rows, channels].")
    channels = []
    for i in range(observed.shape[0]):
        with nogil:
            channel = own.worst_channel(observed.shape[1], &observed[i, 0], &expected[i, 0], &bound[i, 0])
        if channel < 0:
            return None
        channels.append(channel)
    return channels
