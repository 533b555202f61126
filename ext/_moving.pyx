"""The moving recurrence and its bounds, in float64 and without the GIL.

`tf1bn.moving` is the documented face and checks every argument.
"""

from libc.math cimport NAN, expm1, fabs, hypot, log, sqrt

cdef extern from *:
    const char *TF1BN_VERSION
    const char *TF1BN_SOURCE_HASH

version = TF1BN_VERSION.decode("ascii")
source_hash = TF1BN_SOURCE_HASH.decode("ascii")


cdef inline void step_channel(double *value, double *bound, double moment, double moment_bound,
                              double rate, double rate_slack, double unit,
                              double smallest) noexcept nogil:
    cdef double gap = value[0] - moment
    cdef double reach = fabs(gap) + bound[0] + moment_bound
    value[0] -= gap * rate
    bound[0] = (fabs(1.0 - rate) * bound[0] + rate * moment_bound
                + (rate_slack + 3.0 * unit * (rate + rate_slack)) * reach)
    if rate + rate_slack > 0.0:
        # Only a value that moves is rounded to storage.
        bound[0] += unit * (fabs(value[0]) + bound[0]) + 4.0 * smallest


def moving_step(double[:, ::1] stats not None, const double[::1] mean not None,
                const double[::1] variance not None, double count, bint bessel, double rate,
                double rate_slack, double sum_unit, double sum_smallest, double unit, double smallest):
    """One step of the moving statistics and of their bounds; `MovingStats` derives both.

    stats: [4, channels], the rows moving mean, moving variance, bound of the mean, bound of the variance.
    sum_unit, sum_smallest: unit roundoff and smallest number of the type the layer sums in; unit, smallest:
    those of the type it stores.
    """
    cdef Py_ssize_t c
    cdef double growth, factor, m, v, v_bound, m_bound
    if not (stats.shape[0] == 4 and stats.shape[1] == mean.shape[0] == variance.shape[0]):
        raise ValueError("The statistics must be [4, channels], and the moments [channels] with the same channels.")
    with nogil:
        growth = expm1((count + 3.0 * log(count) + 6.0) * sum_unit) if count > 0.0 else NAN
        factor = count / (count - 1.0) if bessel and count > 1.0 else 1.0
        sum_smallest *= count + 4.0
        for c in range(stats.shape[1]):
            m = mean[c]
            v = variance[c]
            m_bound = growth * hypot(m, sqrt(v)) + sum_smallest
            v_bound = m_bound * m_bound + 3.0 * m_bound * sqrt(v) + growth * (v + m_bound * m_bound) + sum_smallest
            if bessel:
                v *= factor
                v_bound = factor * v_bound + 4.0 * sum_unit * (v + factor * v_bound)
            if unit > sum_unit:
                m_bound += unit * (fabs(m) + m_bound) + smallest
                v_bound += unit * (v + v_bound) + smallest
            step_channel(&stats[0, c], &stats[2, c], m, m_bound, rate, rate_slack, unit, smallest)
            step_channel(&stats[1, c], &stats[3, c], v, v_bound, rate, rate_slack, unit, smallest)
