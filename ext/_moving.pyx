"""The moving recurrence and how far a correct layer can be from it, in float64 and without the GIL.

`tf1bn.checker.moving_stats` checks every argument; docs/design/error-bounds.md derives the formulas.
"""

from libc.math cimport INFINITY, NAN, expm1, fabs, fma, frexp, hypot, isfinite, ldexp, log, nearbyint, sqrt

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

cpdef enum Figure:
    # What is carried from step to step for one statistic of one channel, a double each.
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


cdef enum:
    MOST_FORMS = 12


cdef struct Figures:
    # The same, in the same order.
    double value
    double value_low
    double worst
    double linear
    double coherent
    double square
    double batches
    double bessel
    double runs[MOST_FORMS]  # of which there are as many as forms


cdef struct Form:
    # How a layer takes a step, with its own weights of the old value and of the batch, and the bits of significand that
    # it rounds the operations to before it stores the result.
    bint weighted
    double keep
    double rate
    int bits


cdef struct Step:
    # The exact weights, each as a sum of two numbers; keep + rate is 1.
    double keep
    double keep_low
    double rate
    double rate_low
    # How far off those of a layer can be.
    double slack
    double keep_slack
    Form forms[MOST_FORMS]
    int form_count
    double unit
    double smallest
    int storage
    int recurrence
    bint repeated


cdef inline void sum_of_two(double a, double b, double *high, double *low) noexcept nogil:
    """a + b exactly, as its rounded value and the error of that (Knuth's two-sum)."""
    cdef double total = a + b
    cdef double part = total - a
    low[0] = (a - (total - part)) + (b - part)
    high[0] = total


cdef inline void averaged(double *value, double *value_low, double moment, double moment_low,
                          const Step *step) noexcept nogil:
    """keep value + rate moment, with twice the precision of a double (Dekker's double-double arithmetic)."""
    cdef double old = value[0]
    cdef double old_low = value_low[0]
    cdef double kept = old * step.keep
    cdef double added = moment * step.rate
    cdef double kept_low, added_low, high, low, rest
    kept_low = fma(old, step.keep, -kept) + (old * step.keep_low + old_low * step.keep)
    added_low = fma(moment, step.rate, -added) + (moment * step.rate_low + moment_low * step.rate)
    sum_of_two(kept, added, &high, &low)
    if not isfinite(high):
        # What is not finite stays so, as in the recurrence of TF 1.x.
        value[0] = old - (old - moment) * step.rate
        value_low[0] = 0.0
        return
    sum_of_two(kept_low, added_low, &added_low, &rest)
    sum_of_two(high, low + added_low, &high, &low)
    sum_of_two(high, low + rest, value, value_low)


cdef inline double root_of_squares(double x, double root, double square) noexcept nogil:
    """sqrt(x^2 + square), where root is sqrt(square)."""
    cdef double total = x * x + square
    return sqrt(total) if 1e-280 < total < 1e300 else hypot(x, root)


cdef inline double rounded(double x, int bits) noexcept nogil:
    """x in the format with so many bits of significand: 8 (bfloat16), 11, 24 or 53."""
    cdef int exponent
    cdef double quantum
    if bits == 24:
        return <double> (<float> x)
    if bits == 53 or not fabs(x) < 1e300:
        return x
    frexp(x, &exponent)
    quantum = ldexp(1.0, max(exponent - bits, -24 if bits == 11 else -133))
    x = nearbyint(x / quantum) * quantum
    return x if fabs(x) <= (65504.0 if bits == 11 else 3.3895313892515355e38) else x * 1e308 * 1e308


cdef inline void step_channel(Figures *figures, const Step *step, double moment, double moment_low, double worst,
                              double linear, double standard, double exact) noexcept nogil:
    """One step of the figures of one statistic of one channel.

    moment, moment_low: what the batch contributes, as a sum of two numbers; worst, linear, standard: its errors; exact:
    what a layer that sums exactly has in its place, rounded to the type that it sums in.
    """
    cdef double old = figures.value
    cdef double gap = old - moment
    cdef double moves = step.rate + step.slack
    cdef double reach, value, kept, error, rounding, change
    cdef double lost = 0.0
    cdef double *run
    cdef double layer
    cdef int bits
    cdef int i
    averaged(&figures.value, &figures.value_low, moment, moment_low, step)
    value = figures.value

    error = figures.worst
    rounding = 0.0
    if step.recurrence & DIFFERENCE:
        reach = fabs(gap) + error + worst
        lost = (step.slack + 3.0 * step.unit * moves) * reach
        rounding = 2.0 * (moves * gap) * (moves * gap)
    if step.recurrence & WEIGHTED_SUM and moves > 0.0:
        kept, reach = fabs(old) + error, fabs(moment) + worst
        kept = step.keep_slack * kept + step.slack * reach + 3.0 * step.unit * (
            (step.keep + step.keep_slack) * kept + moves * reach)
        # NaN must stay NaN.
        lost = lost if lost > kept else kept
        kept = step.keep * step.keep * old * old + moves * moves * moment * moment
        rounding = rounding if rounding > kept else kept
    error = step.keep * error + step.rate * worst + lost
    if moves > 0.0:
        # Only a value that moves is rounded to storage.
        error += step.unit * (fabs(value) + error) + 4.0 * step.smallest
    # Infinity times 0; where there is no value, there is no bound either.
    figures.worst = INFINITY if error != error and isfinite(value) else error

    error = figures.linear
    figures.linear = step.keep * error + step.rate * linear + step.slack * (fabs(gap) + error)
    if moves > 0.0:
        figures.linear += 4.0 * step.smallest

    error = figures.coherent
    if step.repeated:
        figures.coherent = step.keep * error + step.rate * standard
        figures.square *= step.keep * step.keep
    else:
        figures.coherent = step.rate * standard
        figures.square = step.keep * step.keep * (figures.square + error * error)
    if moves > 0.0:
        figures.square += ROUNDING * ROUNDING * step.unit * step.unit * (value * value + rounding)

    figures.batches = step.keep * figures.batches + step.rate * moment

    for i in range(step.form_count):
        run = &figures.runs[i]
        bits = step.forms[i].bits
        layer = rounded(exact, bits)
        if step.forms[i].weighted:
            kept = rounded(run[0] * step.forms[i].keep, bits)
            value = kept + rounded(layer * step.forms[i].rate, bits)
        else:
            change = rounded(rounded(run[0] - layer, bits) * step.forms[i].rate, bits)
            value = run[0] - change
        run[0] = rounded(rounded(value, bits), step.storage)


def moving_step(double[:, :, ::1] stats not None, const double[::1] mean not None, const double[::1] variance not None,
                double count, *, bint weighted, bint bessel, bint repeated, keep, rate, double slack, double keep_slack,
                forms, int recurrence, double sum_unit, double sum_smallest, int sum_bits,
                double unit, double smallest, int bits, double deviations, double input_error=0.0,
                bint squares=False):
    """One step of the statistics; docs/design/error-bounds.md derives it.

    stats: [2, channels, figures], the figures of `Figure` of the mean and of the variance; as many RUNS as forms.

    keep, rate: the weights of the old value and of the batch, as two numbers each, whose sums add up to exactly 1.
    slack, keep_slack: how far off a layer's rate and weight of the old value can be. recurrence: of `Recurrence`, or
    both. forms: for each form of a layer's recurrence its own weight of the old value, None if it takes the difference,
    its own rate, and the bits of significand of the type that it computes in.
    sum_unit, sum_smallest, sum_bits: unit roundoff, smallest number and bits of significand of the type that the
    layer sums in; the next three those of the type it stores. deviations: how many standard errors count as expected.
    input_error: how far off the inputs that the moments are of can be, in units of their root mean square.
    squares: whether the layer takes the variance as E[x^2] - E[x]^2.
    """
    cdef Py_ssize_t c
    cdef Py_ssize_t channels = stats.shape[1]
    cdef double growth, factor, terms, m, v, v_low, m_worst, v_worst, m_linear, v_linear, m_error, v_error, layer, rest
    cdef double n = max(count, 1.0)
    cdef double root, size, root_terms, root_n, square, n_third
    cdef Step step
    cdef Figures *of_variance
    step.form_count = len(forms)
    if step.form_count > MOST_FORMS:
        raise ValueError(f"There must be at most {MOST_FORMS} forms.")
    if not (stats.shape[0] == 2 and channels == mean.shape[0] == variance.shape[0]
            and stats.shape[2] == RUNS + step.form_count):
        raise ValueError("The statistics must be [2, channels, figures], and the moments [channels], the same channels.")
    step.keep, step.keep_low = keep
    step.rate, step.rate_low = rate
    step.slack, step.keep_slack = slack, keep_slack
    for c in range(step.form_count):
        own_keep, own_rate, own_bits = forms[c]
        step.forms[c].weighted = own_keep is not None
        step.forms[c].keep = NAN if own_keep is None else own_keep
        step.forms[c].rate = own_rate
        step.forms[c].bits = own_bits
    step.unit, step.smallest, step.storage, step.repeated = unit, smallest, bits, repeated
    step.recurrence = recurrence
    with nogil:
        terms = 2.0 * n + 3.0 if weighted else n
        # More than 1e300 is as good as infinite, and gives 0 for moments of 0.
        growth = min(expm1((terms + 3.0 * log(terms) + 6.0) * sum_unit), 1e300) if count > 0.0 else NAN
        factor = count / (count - 1.0) if bessel and count > 1.0 else 1.0
        # Weights may make all but one addition of full size, where equal ones make a third of it.
        terms = n if weighted else n / 3.0
        n_third = terms
        root_terms, root_n = sqrt(terms + 4.0), sqrt(n)
        for c in range(channels):
            m = mean[c]
            v = variance[c]
            v_low = 0.0
            root = sqrt(v)
            size = root_of_squares(m, root, v)
            m_worst = growth * size + sum_smallest * (count + 4.0)
            v_worst = (m_worst * m_worst + 3.0 * m_worst * root + growth * (v + m_worst * m_worst)
                       + sum_smallest * (count + 4.0))
            m_error = ROUNDING * sum_unit * sqrt((terms + 2.0) * m * m + 0.5 * v)
            v_error = ROUNDING * sum_unit * v * root_terms + 2.0 * m_error * root / root_n
            m_linear = 4.0 * sum_smallest
            v_linear = (deviations * m_error) * (deviations * m_error) + 4.0 * sum_smallest
            if squares:
                # The mean of the squares, the square of the mean and the difference of the two.
                square = size * size
                rest = fabs(m) + m_worst
                v_worst = growth * square + m_worst * (fabs(m) + rest) + 2.0 * sum_unit * (rest * rest + square)
                v_worst += sum_smallest * (count + 4.0)
                v_error = ROUNDING * sum_unit * square * sqrt(n_third + 5.0) + 2.0 * fabs(m) * m_error
            if input_error > 0.0:
                layer = input_error * size
                m_worst += layer
                m_linear += layer
                v_worst += layer * (2.0 * root + layer)
                v_linear += layer * (2.0 * root + layer)
            if bessel:
                if count > 1.0:
                    # v + v / (N - 1) as a sum of two numbers.
                    rest = v / (count - 1.0)
                    v_low = fma(-rest, count - 1.0, v) / (count - 1.0)
                    sum_of_two(v, rest, &v, &rest)
                    v_low += rest
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
            of_variance = <Figures *> &stats[1, c, 0]
            of_variance.bessel *= step.keep
            if count > 1.0:
                of_variance.bessel += step.rate * variance[c] / (count - 1.0)
            layer = rounded(m, sum_bits)
            step_channel(<Figures *> &stats[0, c, 0], &step, m, 0.0, m_worst, m_linear, m_error, layer)
            layer = rounded(rounded(variance[c], sum_bits) * rounded(factor, sum_bits), sum_bits)
            step_channel(of_variance, &step, v, v_low, v_worst, v_linear, v_error, layer)
