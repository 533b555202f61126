"""How far two honest float32 layers can be apart on the data of a case, and what rival hypotheses predict.

First-order rounding-error analysis, per channel. With u the unit roundoff, N elements x, m and v their mean
and population variance, and dx what the input itself is uncertain by:

    mean        dm = (N + 2) u mean|x| + dx                     a sum in any order, a division
    variance    dv = (N + 8) u v + dm^2 + 2 sqrt(v) dx          squares of rounded differences, a sum, N/(N-1)
    update      da' = (1 - r) da + r dm + u (3 r |a - m| + |a'|)       a' = a - (a - m) r
    output      dy = |g| i (4 u (|x| + |m|) + dm + dx + |x - m| (dv / (2 s) + 3 u)) + 2 u (|beta| + |y|)

where s = v + epsilon, i = 1/sqrt(s), g gamma, and in inference (m, v) are the moving statistics with their
own errors. The first term of dy is there because the composed layer computes x*i + (beta - m*i), which
cancels. The gradients follow the same pattern (see ``gradients``). A recording and its replay are both that
far from the exact value at most, so they are compared at twice these bounds: no other number enters.

The rate r is not taken from the case (that would presume what is to be tested) but from the recorded step.
"""

import numpy as np

UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
EPSILON_FLOOR = 1.001e-5


class Batch:
    """One input of a layer, channels last, as [N, C] float64; ``dx`` is how far it may be off."""

    def __init__(self, array, u, dx=0.0):
        self.x = np.asarray(array, np.float64).reshape(-1, np.shape(array)[-1])
        self.dx = np.broadcast_to(dx, self.x.shape)
        with np.errstate(all="ignore"):
            self.count = len(self.x)
            self.mean = self.x.mean(0)
            self.variance = ((self.x - self.mean) ** 2).mean(0)
            spread = self.dx.max(0)
            self.mean_error = (self.count + 2) * u * np.abs(self.x).mean(0) + spread
            self.variance_error = (
                (self.count + 8) * u * self.variance + self.mean_error**2 + 2 * np.sqrt(self.variance) * spread
            )


def rate_of(before, after, mean):
    """The step that a moving mean took: least squares over the channels."""
    with np.errstate(all="ignore"):
        way, step = mean - before, after - before
        usable = np.isfinite(way) & np.isfinite(step)
        if not np.any(way[usable]):
            return 1.0
        return min(1.0, abs(np.sum(way[usable] * step[usable]) / np.sum(way[usable] ** 2)))


def moved(before, after, batch_value, batch_error, error, rate, u):
    """Error of a moving statistic after a step that took it from ``before`` to ``after``."""
    with np.errstate(all="ignore"):
        return (1 - rate) * error + rate * batch_error + u * (3 * rate * np.abs(before - batch_value) + np.abs(after))


class Normalised:
    """Output and gradients of a layer on a batch with the statistics it normalises with, and their errors."""

    def __init__(self, batch, mean, variance, mean_error, variance_error, gamma, beta, epsilon, u, output_u):
        with np.errstate(all="ignore"):
            s = variance + epsilon
            self.batch, self.u, self.gamma, self.mean = batch, u, gamma, mean
            self.inverse = 1 / np.sqrt(s)
            self.relative = 0.5 * variance_error / s + 3 * u
            self.size = np.abs(batch.x) + np.abs(mean)
            self.centred = batch.x - mean
            self.mean_error = mean_error
            self.difference = 4 * u * self.size + mean_error + batch.dx + np.abs(self.centred) * self.relative
            self.output = gamma * self.centred * self.inverse + beta
            self.output_error = (
                np.abs(gamma) * self.inverse * self.difference
                + 2 * u * (np.abs(beta) + np.abs(self.output))
                + output_u * np.abs(self.output)
            )

    def gradients(self, w, training):
        """Errors of the gradients of sum(w * output) by input, gamma and beta."""
        with np.errstate(all="ignore"):
            u, n, inverse = self.u, self.batch.count, self.inverse
            total = np.abs(w).sum(0)
            product = np.abs((w * self.centred).sum(0))
            # sum(w (x - m)), computed as sum(w x) - m sum(w) by the composed layer
            product_error = (n + 6) * u * (np.abs(w) * self.size).sum(0) + self.mean_error * total
            gamma = inverse * product_error + product * inverse * (self.relative + 4 * u)
            factor = np.abs(self.gamma) * inverse
            x = factor * np.abs(w) * (6 * u + self.relative)
            if training:
                pull = inverse**2 / n
                x = x + factor * (
                    (n + 6) * u * total / n
                    + total / n * (self.relative + 4 * u)
                    + pull * np.abs(self.centred) * (product_error + product * (3 * self.relative + 8 * u))
                    + pull * product * self.difference
                )
            return {"x": x, "gamma": gamma, "beta": (n + 2) * u * total}


def statistics_after(mean, variance, batch, rate, bessel):
    """The moving statistics after a step, in float64."""
    with np.errstate(all="ignore"):
        factor = batch.count / (batch.count - 1) if bessel and batch.count > 1 else 1.0
        return mean - (mean - batch.mean) * rate, variance - (variance - factor * batch.variance) * rate
