"""The moving recurrence and how far a correct layer can be from it, in float64 and without the GIL.

`tf1bn.checker.moving_stats` checks every argument; docs/design/error-bounds.md derives the formulas.
"""

from libc.math cimport NAN, expm1, fabs, frexp, hypot, ldexp, log, nearbyint, sqrt

cdef extern from *:
    """
    /* The root mean square of a rounding error in units of u: the error is uniform over half a unit in the last place,
       significands are distributed as 1 / (t ln 2), and sqrt(1/3 * 3 / (8 ln 2)) = .4247. */
    #define ROUNDING 0.4247
    """
    const double ROUNDING
    const char *TF1BN_VERSION
    const char *TF1BN_SOURCE_HASH

version = TF1BN_VERSION.decode("ascii")
source_hash = TF1BN_SOURCE_HASH.decode("ascii")
rounding = ROUNDING

cpdef enum Row:
    # Rows of the statistics: each name is the row of the mean, and the next row is that of the variance.
    VALUE = 0  # expected
    WORST = 2  # worst-case error
    LINEAR = 4  # errors of one sign
    COHERENT = 6  # standard error of the batches that were the same as the last one
    SQUARE = 8  # squared standard error of the others
    LAYER = 10  # what a layer of the dtype makes of exact moments, with the first rate that a layer can have
    OTHER_LAYER = 12  # with the second one
    BATCHES = 14  # what the batches contributed to the expected value
    BESSEL = 16  # the row after: how far the other convention would have taken the variance
    WEIGHTED = 18  # as LAYER, by the weighted recurrence
    OTHER_WEIGHTED = 20
    ROWS = 22


cpdef enum Recurrence:
    DIFFERENCE = 1  # a -= (a - m) * r
    WEIGHTED_SUM = 2  # a = a * d + m * r


cdef struct Step:
    double rate
    double slack
    double rates[2]
    double keep
    double keep_slack
    double unit
    double smallest
    int storage
    int recurrence
    bint repeated


cdef inline double rounded(double x, int bits) noexcept nogil:
    """x in the format with so many bits of significand: 11, 24 or 53."""
    cdef int exponent
    cdef double quantum
    if bits == 24:
        return <double> (<float> x)
    if bits == 53 or not fabs(x) < 1e300:
        return x
    frexp(x, &exponent)
    quantum = ldexp(1.0, max(exponent - 11, -24))
    x = nearbyint(x / quantum) * quantum
    return x if fabs(x) <= 65504.0 else x * 1e308 * 1e308


cdef inline void step_channel(double *stats, Py_ssize_t channels, const Step *step, double moment, double worst,
                              double linear, double standard, double layer) noexcept nogil:
    """One step of one statistic of one channel; `stats` is its expected value and the rows lie 2 * channels apart."""
    cdef Py_ssize_t two = 2 * channels
    cdef double *row = stats
    cdef double gap = stats[0] - moment
    cdef double rest = fabs(1.0 - step.rate)
    cdef double moves = step.rate + step.slack
    cdef double old = stats[0]
    cdef double reach, value, kept, lost, rounding
    cdef int i
    # VALUE
    row[0] -= gap * step.rate
    value = row[0]
    # WORST
    row += two
    lost = rounding = 0.0
    if step.recurrence & DIFFERENCE:
        reach = fabs(gap) + row[0] + worst
        lost = (step.slack + 3.0 * step.unit * moves) * reach
        rounding = 2.0 * (moves * gap) * (moves * gap)
    if step.recurrence & WEIGHTED_SUM and moves > 0.0:
        kept, reach = fabs(old) + row[0], fabs(moment) + worst
        kept = step.keep_slack * kept + step.slack * reach + 3.0 * step.unit * (
            (rest + step.keep_slack) * kept + moves * reach)
        # NaN must stay NaN.
        lost = lost if lost > kept else kept
        kept = rest * rest * old * old + moves * moves * moment * moment
        rounding = rounding if rounding > kept else kept
    row[0] = rest * row[0] + step.rate * worst + lost
    if moves > 0.0:
        # Only a value that moves is rounded to storage.
        row[0] += step.unit * (fabs(value) + row[0]) + 4.0 * step.smallest
    # LINEAR
    row += two
    row[0] = rest * row[0] + step.rate * linear + step.slack * (fabs(gap) + row[0])
    if moves > 0.0:
        row[0] += 4.0 * step.smallest
    # COHERENT and SQUARE
    row += two
    if step.repeated:
        row[0] = rest * row[0] + step.rate * standard
        row[two] *= rest * rest
    else:
        row[two] = rest * rest * (row[two] + row[0] * row[0])
        row[0] = step.rate * standard
    if moves > 0.0:
        row[two] += ROUNDING * ROUNDING * step.unit * step.unit * (value * value + rounding)
    # LAYER and OTHER_LAYER
    row += two
    for i in range(2):
        row += two
        if step.recurrence & DIFFERENCE:
            gap = rounded(rounded(row[0] - layer, step.storage) * step.rates[i], step.storage)
            row[0] = rounded(row[0] - gap, step.storage)
        if step.recurrence & WEIGHTED_SUM:
            kept = rounded((row + 4 * two)[0] * step.keep, step.storage)
            (row + 4 * two)[0] = rounded(kept + rounded(layer * step.rates[i], step.storage), step.storage)
    # BATCHES
    row += two
    row[0] = (1.0 - step.rate) * row[0] + step.rate * moment


def moving_step(double[:, ::1] stats not None, const double[::1] mean not None, const double[::1] variance not None,
                double count, *, bint weighted, bint bessel, bint repeated, double rate, double slack,
                double first_rate, double second_rate, double sum_unit, double sum_smallest, int sum_bits,
                double unit, double smallest, int bits, double deviations, int recurrence=DIFFERENCE, double keep=NAN,
                double keep_slack=NAN, double input_error=0.0):
    """One step of the moving statistics [ROWS, channels] and of their errors; `MovingStats` derives them.

    sum_unit, sum_smallest, sum_bits: unit roundoff, smallest number and bits of significand of the type that the
    layer sums in; the next three those of the type it stores. deviations: how many standard errors count as expected.
    recurrence: of `Recurrence`, or both; keep, keep_slack: the weight of the old value in a weighted sum.
    input_error: how far off the inputs that the moments are of can be, in units of their root mean square.
    """
    cdef Py_ssize_t c
    cdef Py_ssize_t channels = stats.shape[1]
    cdef double growth, factor, terms, m, v, m_worst, v_worst, m_linear, v_linear, m_error, v_error, layer
    cdef double n = max(count, 1.0)
    cdef Step step
    if not (stats.shape[0] == ROWS and channels == mean.shape[0] == variance.shape[0]):
        raise ValueError(f"The statistics must be [{ROWS}, channels], and the moments [channels] with the same channels.")
    step.rate, step.slack, step.rates = rate, slack, [first_rate, second_rate]
    step.unit, step.smallest, step.storage, step.repeated = unit, smallest, bits, repeated
    step.recurrence, step.keep, step.keep_slack = recurrence, keep, keep_slack
    with nogil:
        terms = 2.0 * n + 3.0 if weighted else n
        growth = expm1((terms + 3.0 * log(terms) + 6.0) * sum_unit) if count > 0.0 else NAN
        factor = count / (count - 1.0) if bessel and count > 1.0 else 1.0
        # Weights may make all but one addition of full size, where equal ones make a third of it.
        terms = n if weighted else n / 3.0
        for c in range(channels):
            m = mean[c]
            v = variance[c]
            m_worst = growth * hypot(m, sqrt(v)) + sum_smallest * (count + 4.0)
            v_worst = (m_worst * m_worst + 3.0 * m_worst * sqrt(v) + growth * (v + m_worst * m_worst)
                       + sum_smallest * (count + 4.0))
            m_error = ROUNDING * sum_unit * sqrt((terms + 2.0) * m * m + 0.5 * v)
            v_error = ROUNDING * sum_unit * v * sqrt(terms + 4.0) + 2.0 * m_error * sqrt(v / n)
            m_linear = 4.0 * sum_smallest
            v_linear = (deviations * m_error) * (deviations * m_error) + 4.0 * sum_smallest
            if input_error > 0.0:
                layer = input_error * hypot(m, sqrt(v))
                m_worst += layer
                m_linear += layer
                v_worst += layer * (2.0 * sqrt(v) + layer)
                v_linear += layer * (2.0 * sqrt(v) + layer)
            if bessel:
                v *= factor
                v_worst = factor * v_worst + 4.0 * sum_unit * (v + factor * v_worst)
                v_error = factor * v_error + 2.0 * ROUNDING * sum_unit * v
                v_linear *= factor
            if bits < sum_bits:
                m_worst += unit * (fabs(m) + m_worst) + smallest
                v_worst += unit * (v + v_worst) + smallest
                m_linear += smallest
                v_linear += smallest
                m_error = hypot(m_error, ROUNDING * unit * m)
                v_error = hypot(v_error, ROUNDING * unit * v)
            stats[BESSEL + 1, c] *= 1.0 - rate
            if count > 1.0:
                stats[BESSEL + 1, c] += rate * variance[c] / (count - 1.0)
            layer = rounded(rounded(m, sum_bits), bits)
            step_channel(&stats[0, c], channels, &step, m, m_worst, m_linear, m_error, layer)
            layer = rounded(rounded(rounded(variance[c], sum_bits) * rounded(factor, sum_bits), sum_bits), bits)
            step_channel(&stats[1, c], channels, &step, v, v_worst, v_linear, v_error, layer)
