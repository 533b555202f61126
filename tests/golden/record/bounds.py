"""How far two honest float32 layers can be apart on the data of a case, and what rival hypotheses predict.

First-order rounding-error analysis, per channel. With u the unit roundoff, N elements x, m and v their mean
and population variance, and dx what the input itself is uncertain by:

    mean        dm = (N + 2) u mean|x| + dx                     a sum in any order, a division
    variance    dv = (N + 8) u v + dm^2 + 2 sqrt(v) dx          squares of rounded differences, a sum, N/(N-1)
    update      da' = (1 - r) da + r dm + u (3 r |a - m| + |a'|)       a' = a - (a - m) r
    output      dy = |g| i (4 u (|x| + |m|) + dm + dx + |x - m| (dv / (2 s) + 3 u)) + 2 u (|beta| + |y|)

where s = v + epsilon, i = 1/sqrt(s), g gamma, and in inference (m, v) are the moving statistics with their
own errors. The first term of dy is there because the composed layer computes x*i + (beta - m*i), which
cancels. With weights w per element and p = w / sum(w), moments take a multiplication, two sums, a reciprocal
and another multiplication:

    mean        dm = (2 N + 3) u sum p|x| + dx
    variance    dv = (2 N + 8) u v + dm^2 + 2 sqrt(v) dx

A debiased mean is b / f with the biased average b and f = 1 - q^t, q = 1 - r rounded, q^t good to 2 units:

    debiased    da = db / f + |a| (((t + 3) u q^t + u f) / f + 2 u)

Batch renormalisation corrects with r = S / R and d = (m - M) / R before gamma and beta, where S = sqrt(s), and
M and R, averages of m and S, come with errors dM and dR; clipping moves nothing further apart:

    stddev      dS = dv / (2 S) + 2 u S
    correction  dr = (dS + r dR) / R + 2 u r        dd = (dm + dM + |d| dR + u (|m| + |M|)) / R + 2 u |d|
    weighted    dM = dA + (1 - W) dm + |m| dW + 2 u (|A| + |m|)     1.2 to 1.14: M = A + (1 - W) m, S likewise
    inference   dV = 2 A dA + 2 u A^2 + u V         V = A^2 - epsilon, A the moving stddev

The output is then G x' + H with x' = (x - m) i, G = r a g and H = (d a + b) g + beta, where (a, b) is the pair
of an adjustment (1 and 0 without), and dG = |a g| dr + 3 u |G|, dH = |a g| dd + 3 u (|d a g| + |b g| + |beta|).
The gradients, the second ones too, follow the same pattern (see ``gradients`` and ``second_gradients``): every
sum counts its N roundings of the magnitudes that it adds up, and every factor its own error. A recording and
its replay are both that far from the exact value at most, so they are compared at twice these bounds: no
other number enters.

The rate r is not taken from the case (that would presume what is to be tested) but from the recorded step.
"""

import numpy as np

UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
EPSILON_FLOOR = 1.001e-5


class Batch:
    """One input of a layer, channels last, as [N, C] float64; ``dx`` is how far it may be off.

    ``weights`` are those of the samples, the first axis; ``share`` is what an element has in the mean.
    """

    def __init__(self, array, u, dx=0.0, weights=None):
        self.x = np.asarray(array, np.float64).reshape(-1, np.shape(array)[-1])
        self.dx = np.broadcast_to(dx, self.x.shape)
        self.count = n = len(self.x)
        self.weighted = weights is not None
        with np.errstate(all="ignore"):
            if self.weighted:
                each = np.repeat(np.asarray(weights, np.float64), n // len(weights))
                self.share = (each / each.sum())[:, None]
                sums, squares = 2 * n + 3, 2 * n + 8
            else:
                self.share = np.full((n, 1), 1 / n)
                sums, squares = n + 2, n + 8
            self.mean = (self.share * self.x).sum(0) if self.weighted else self.x.mean(0)
            square = (self.x - self.mean) ** 2
            self.variance = (self.share * square).sum(0) if self.weighted else square.mean(0)
            spread = self.dx.max(0)
            self.mean_error = sums * u * (self.share * np.abs(self.x)).sum(0) + spread
            self.variance_error = squares * u * self.variance + self.mean_error**2 + 2 * np.sqrt(self.variance) * spread

    def stddev(self, epsilon, u):
        """sqrt(variance + epsilon) and its error."""
        with np.errstate(all="ignore"):
            value = np.sqrt(self.variance + epsilon)
            error = np.where(value > 0, self.variance_error / (2 * value), np.sqrt(self.variance_error))
            return value, error + 2 * u * value


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


def debiased_error(debiased, biased_error, rate, updates, u):
    """Error of biased / (1 - (1 - rate)**updates)."""
    with np.errstate(all="ignore"):
        power = (1 - rate) ** updates
        factor = 1 - power
        return biased_error / factor + np.abs(debiased) * (((updates + 3) * u * power + u * factor) / factor + 2 * u)


def squared_error(stddev, stddev_error, epsilon, u):
    """Error of relu(stddev**2 - epsilon)."""
    with np.errstate(all="ignore"):
        return 2 * stddev * stddev_error + 2 * u * stddev**2 + u * np.abs(stddev**2 - epsilon)


def mixed(average, weight, value, errors, u):
    """average + (1 - weight) * value and its error; ``errors``: those of the three."""
    with np.errstate(all="ignore"):
        result = average + (1 - weight) * value
        error = errors[0] + np.abs(1 - weight) * errors[2] + np.abs(value) * errors[1]
        return result, error + 2 * u * (np.abs(average) + np.abs(value))


def ratio(average, weight, average_error, weight_error, u):
    """average / weight and its error."""
    with np.errstate(all="ignore"):
        result = average / weight
        return result, (average_error + np.abs(result) * weight_error) / np.abs(weight) + u * np.abs(result)


class Correction:
    """r and d of batch renormalisation, from the averages before the step, and their errors."""

    def __init__(self, batch, mean, stddev, mean_error, stddev_error, epsilon, clipping, u, floor=True):
        with np.errstate(all="ignore"):
            now, now_error = batch.stddev(epsilon, u)
            stddev = np.maximum(stddev, np.sqrt(epsilon)) if floor else stddev
            self.r, self.d = now / stddev, (batch.mean - mean) / stddev
            self.r_error = (now_error + self.r * stddev_error) / stddev + 2 * u * self.r
            self.d_error = (
                batch.mean_error + mean_error + np.abs(self.d) * stddev_error + u * (np.abs(batch.mean) + np.abs(mean))
            ) / stddev + 2 * u * np.abs(self.d)
        self.free = self.r, self.d
        if clipping.get("rmin") is not None:
            self.r = np.maximum(self.r, clipping["rmin"])
        if clipping.get("rmax") is not None:
            self.r = np.minimum(self.r, clipping["rmax"])
        if clipping.get("dmax") is not None:
            self.d = np.minimum(np.maximum(self.d, -clipping["dmax"]), clipping["dmax"])


class Normalised:
    """Output and gradients of a layer on a batch with the statistics it normalises with, and their errors.

    ``correction`` is renorm's, ``adjustment`` the pair (scale, bias), as [N, C].
    """

    def __init__(
        self,
        batch,
        mean,
        variance,
        mean_error,
        variance_error,
        gamma,
        beta,
        epsilon,
        u,
        output_u,
        correction=None,
        adjustment=None,
    ):
        with np.errstate(all="ignore"):
            s = variance + epsilon
            self.batch, self.u, self.output_u, self.gamma, self.mean = batch, u, output_u, gamma, mean
            self.inverse = 1 / np.sqrt(s)
            self.relative = 0.5 * variance_error / s + 3 * u
            self.size = np.abs(batch.x) + np.abs(mean)
            self.centred = batch.x - mean
            self.mean_error = mean_error
            self.difference = 4 * u * self.size + mean_error + batch.dx + np.abs(self.centred) * self.relative
            self.r, self.d, self.r_error, d_error = 1.0, 0.0, 0.0, 0.0
            if correction is not None:
                self.r, self.d = correction.r, correction.d
                self.r_error, d_error = correction.r_error, correction.d_error
            self.d_error = d_error
            self.a, self.b = (1.0, 0.0) if adjustment is None else adjustment
            slope = self.r * self.a * gamma
            offset = (self.d * self.a + self.b) * gamma + beta
            slope_error = offset_error = 0.0
            if correction is not None or adjustment is not None:
                slope_error = np.abs(self.a * gamma) * self.r_error + 3 * u * np.abs(slope)
                parts = np.abs(self.d * self.a * gamma) + np.abs(self.b * gamma) + np.abs(beta)
                offset_error = np.abs(self.a * gamma) * d_error + 3 * u * parts
            self.output = slope * self.centred * self.inverse + offset
            self.output_error = (
                np.abs(slope) * self.inverse * self.difference
                + np.abs(self.centred) * self.inverse * slope_error
                + offset_error
                + 2 * u * (np.abs(offset) + np.abs(self.output))
                + output_u * np.abs(self.output)
            )

    def _sums(self, w):
        """Magnitudes and errors that both orders of gradients need; ``w`` is what x' is multiplied with."""
        u, n = self.u, self.batch.count
        total = np.abs(w).sum(0)
        product = np.abs((w * self.centred).sum(0))
        # sum(w (x - m)), computed as sum(w x) - m sum(w) by the composed layer
        product_error = (n + 6) * u * (np.abs(w) * self.size).sum(0) + self.mean_error * total
        return total, product, product_error

    def gradients(self, w, training):
        """Errors of the gradients of sum(w * output) by input, gamma and beta."""
        with np.errstate(all="ignore"):
            u, n, inverse, share = self.u, self.batch.count, self.inverse, self.batch.share
            through = w * self.a
            total, product, product_error = self._sums(through)
            gamma = (
                np.abs(self.r) * (inverse * product_error + product * inverse * (self.relative + 4 * u))
                + product * inverse * self.r_error
            )
            gamma = gamma + (
                (n + 3) * u * (np.abs(self.d) * total + np.abs(w * self.b).sum(0))
                + self.d_error * np.abs(through.sum(0))
            )
            factor = np.abs(self.gamma * self.r) * inverse
            x = factor * np.abs(through) * (6 * u + self.relative)
            size = np.abs(through)
            if training:
                pull = inverse**2 * share
                x = x + factor * (
                    (n + 6) * u * total * share
                    + total * share * (self.relative + 4 * u)
                    + pull * np.abs(self.centred) * (product_error + product * (3 * self.relative + 8 * u))
                    + pull * product * self.difference
                )
                size = size + total * share + pull * np.abs(self.centred) * product
                if self.batch.weighted:
                    # weighted_moments lets the variance's gradient through its mean, where it is a sum that is 0.
                    rest = (n + 2) * u * (share * np.abs(self.centred)).sum(0) + self.mean_error
                    x = x + factor * pull * product * rest
            x = x + np.abs(self.gamma) * inverse * size * self.r_error + 4 * self.output_u * factor * size
            return {"x": x, "gamma": gamma, "beta": (n + 2) * u * np.abs(w).sum(0)}

    def second_gradient_by_input(self, w, t, stopped):
        """The value of what ``second_gradients`` has the error of, in training and without correction.

        ``stopped``: the gradient stops at the mean inside the variance, as tf.nn.moments has it. That leaves the
        first gradients as they are and takes a term from the second ones.
        """
        i, share, c = self.inverse, self.batch.share, self.centred
        w = w * self.a
        P, Q, T = (w * c).sum(0), (share * t * c).sum(0), (share * t).sum(0)
        A = (t * w).sum(0) - T * w.sum(0)
        by_Q = share * (t - (0 if stopped else T))
        by_P = w - share * w.sum(0)
        return self.gamma * (-(i**3) * share * c * A + 3 * i**5 * share * c * Q * P - i**3 * (by_Q * P + Q * by_P))

    def second_gradients(self, w, t, training):
        """Errors of the gradients of sum(t * gradient by the input of sum(w * output)).

        With W = sum w, P = sum w (x - m), Q = sum p t (x - m), T = sum p t and A = sum t w - T W that sum is
        g r (i A - i^3 Q P); its derivative by x follows from those of i, P and Q. The composed layer stops
        gradients inside the variance, so a term of it may be missing there: magnitudes are taken term by term.
        """
        with np.errstate(all="ignore"):
            u, n, i, share = self.u, self.batch.count, self.inverse, self.batch.share
            w = w * self.a
            total, product, product_error = self._sums(w)
            both = np.abs(t * w).sum(0)
            slope = np.abs(self.gamma * self.r)
            if not training:
                gamma = i * ((n + 6) * u * both + np.abs((t * w).sum(0)) * (self.relative + 6 * u))
                return {"x": np.zeros_like(self.centred), "gamma": gamma, "beta": 0.0}
            c = np.abs(self.centred)
            c_error = 4 * u * self.size + self.mean_error + self.batch.dx
            spread = (share * np.abs(t)).sum(0)
            A = np.abs((t * w).sum(0) - (share * t).sum(0) * w.sum(0))
            A_error = (n + 8) * u * (both + spread * total)
            Q = np.abs((share * t * self.centred).sum(0))
            Q_error = (n + 6) * u * (share * np.abs(t) * self.size).sum(0) + self.mean_error * spread
            QP = Q * product
            QP_error = Q_error * product + Q * product_error
            gamma = i * (A_error + A * (self.relative + 8 * u)) + i**3 * (QP_error + QP * (3 * self.relative + 8 * u))
            gamma = gamma * np.abs(self.r) + (i * A + i**3 * QP) * self.r_error
            pulled_t, pulled_w = share * (np.abs(t) + spread), np.abs(w) + share * total
            rounding = 5 * self.relative + (n + 12) * u
            size = i**3 * share * c * A + 3 * i**5 * share * c * QP + i**3 * (pulled_t * product + Q * pulled_w)
            x = (
                i**3 * share * (c * A_error + A * c_error)
                + 3 * i**5 * share * (c_error * QP + c * QP_error)
                + i**3 * (pulled_t * product_error + Q_error * pulled_w)
                + size * (rounding + 2 * self.output_u)
            )
            if self.batch.weighted:
                rest = (n + 2) * u * (share * c).sum(0) + self.mean_error
                x = x + share * rest * (i**3 * A + 3 * i**5 * QP)
            return {"x": slope * x + np.abs(self.gamma) * size * self.r_error, "gamma": gamma, "beta": 0.0}


def statistics_after(mean, variance, batch, rate, bessel):
    """The moving statistics after a step, in float64."""
    with np.errstate(all="ignore"):
        factor = batch.count / (batch.count - 1) if bessel and batch.count > 1 else 1.0
        return mean - (mean - batch.mean) * rate, variance - (variance - factor * batch.variance) * rate
