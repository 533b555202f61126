"""The numbers of one layer in two runs, step by step: what is inherited, what is added. Used by ``parity``.

The layer function is OLD's, in float64: y = gamma (x - M) / sqrt(V + epsilon) + beta with OLD's epsilon, and moving
averages with OLD's decay and variance convention. What it makes of NEW's inputs, against what it makes of OLD's, is
inherited. What NEW recorded, against what it makes of NEW's inputs, is added, and is judged by what an honest layer of
NEW's dtype may be off on that data.
"""

import math

import numpy as np

from ... import checker
from ...evidence.step_view import View
from .same_data import blocks, channels_last, same_data

ROUNDINGS = 8.0  # of one output


class Worst:
    """The largest error in units of its bound, and where it first was larger than that.

    As a dict: "what", "error", "bound", "step", "channel", "old" and "new" (the values there) and "first" (the first
    step in which an error was not within its bound, or None).
    """

    def __init__(self, what):
        self.what = what
        self.share, self.values, self.first = -1.0, None, None

    def add(self, step, error, bound, old, new):
        """Take errors and bounds, [channels] each, and the values that were compared."""
        with np.errstate(divide="ignore", invalid="ignore"):
            # The same on both sides, NaN included, is no difference.
            error = np.where((old == new) | (np.isnan(old) & np.isnan(new)), 0.0, error)
            share = np.where(error == 0, 0.0, error / bound)
        share = np.where(np.isnan(share), np.inf, share)
        at = int(np.argmax(share))
        if share[at] > 1 and self.first is None:
            self.first = step
        if share[at] > self.share:
            self.share = float(share[at])
            self.values = {
                "error": float(error[at]),
                "bound": float(bound[at]),
                "step": step,
                "channel": at,
                "old": float(old[at]),
                "new": float(new[at]),
            }

    def entry(self):
        return None if self.values is None else {"what": self.what, **self.values, "first": self.first}


class Pair:
    """One matched layer over the steps of both runs.

    Args:
      law: dict of OLD's "epsilon" and "bessel" (either may be None), and "lawful": whether OLD's statistics are those
        of its declaration, so that they can be predicted over all steps.

    Attributes:
      data: the state of the first step, see `same_data`; data_error and data_reason belong to it.
      began: the first step; later: the first step after it whose data is different, its error and reason; or None.
      lengths: the channels of OLD and NEW where they are not as many; or None.
      not_finite: sentences by "OLD", "NEW" or "outputs" on numbers that are not finite, which equal nothing.
      checks: dict from what is compared to `Worst`.
      direct: the same for NEW's numbers against OLD's own, where the inputs of all steps are equal bit for bit: what
        counts where both do what OLD does not declare.
      inherited, added: the largest inherited and added error of the outputs, or None.
      flags: list of (step, OLD's flags, NEW's flags) where they differ.
      moved_between: for OLD and NEW, the first step before which the statistics changed without a step; or None.
      differences: dict from a statistic to the largest direct difference.
      trained: the pairs of a side, 0 or 1, and "gamma" or "beta" that in some step is not all 1 or all 0.
      lacks: those of gamma and beta that OLD records and NEW does not; bare: a `Worst` of the outputs if NEW has none.
      held: for OLD and NEW, dict from a role to the array that the run starts with.
    """

    def __init__(self, old_layer, new_layer, law):
        self.old_layer, self.new_layer, self.law = old_layer, new_layer, law
        self.data = self.data_error = self.data_reason = None
        self.began = self.later = self.lengths = None
        self.not_finite, self.held = {}, ({}, {})
        self.bare, self.lacks = Worst("outputs"), []
        self.trained = set()
        self.checks, self.direct, self.differences = {}, {}, {}
        self.inherited = self.added = None
        self.flags = []
        self.moved_between = [None, None]
        self.notes = []
        self.steps = 0
        self.compared_outputs = self.compared_training = 0
        self.gamma_beta = {}
        self.gamma_beta_seen = ((False, False), (False, False))
        self.start = None
        self._stats = None
        self._last = [None, None]
        self._lawful = law["lawful"]
        self._equal, self._allowed = True, None

    def add(self, step, old, new, axis):
        """Take the records of one step."""
        state, error, reason = same_data(old, new, axis)
        if self.data is None:
            self.data, self.data_error, self.data_reason = state, error, reason
            self.began = step
        elif state == "different" and self.later is None:
            self.later = step, error, reason
        self.steps += 1
        old_view, new_view = View(old), View(new)
        if old_view.before.shape != new_view.before.shape:
            self.lengths = old_view.before.shape[1], new_view.before.shape[1]
            return
        for side, view in (("OLD", old_view), ("NEW", new_view)):
            if side not in self.not_finite and (bad := _not_finite(view)):
                self.not_finite[side] = f"{side}'s {bad} in step {step} is not finite, which shows nothing."
        for i, view in enumerate((old_view, new_view)):
            around = view.before.tobytes(), view.after.tobytes()
            if self._last[i] is not None and self._last[i] != around[0] and self.moved_between[i] is None:
                self.moved_between[i] = step
            self._last[i] = around[1]
        for i, record in enumerate((old, new)):
            for name, value in (("gamma", 1), ("beta", 0)):
                if (held := getattr(record, name)) is not None and (held != value).any():
                    self.trained.add((i, name))
        if old.training != new.training:
            self.flags.append((step, old.training, new.training))
            self._lawful = False
        if self._stats is None:
            self._begin(step, old, new, old_view, new_view)
        self._equal &= state == "bitwise"
        if not self._equal:
            self.direct.clear()
        self._outputs(step, old, new, old_view, new_view)
        self._update(step, old_view, new_view)

    def _begin(self, step, old, new, old_view, new_view):
        unit = max(_unit(view.layer.dtype) for view in (old_view, new_view))
        (a, b), (c, d) = old_view.before, new_view.before
        worst = [Worst(f"start of the {name}") for name in ("moving mean", "moving variance")]
        for one, was, now in ((worst[0], a, c), (worst[1], b, d)):
            with np.errstate(invalid="ignore"):
                away = np.abs(was - now)
            one.add(step, away, 4 * unit * np.maximum(np.abs(was), np.abs(now)), was, now)
            self.checks[one.what] = one
        fresh = [bool((view.before[0] == 0).all() and (view.before[1] == 1).all()) for view in (old_view, new_view)]
        self.start = fresh
        for held, one in zip(self.held, (old, new), strict=True):
            held.update(mean=one.moving_mean_before, variance=one.moving_variance_before)
            held.update({name: value for name in ("gamma", "beta") if (value := getattr(one, name)) is not None})
        self.gamma_beta_seen = tuple((one.gamma is not None, one.beta is not None) for one in (old, new))
        for name in ("gamma", "beta"):
            one, two = getattr(old, name), getattr(new, name)
            if one is None or two is None:
                continue
            one, two = one.astype(np.float64), two.astype(np.float64)
            self.gamma_beta[name] = one, two
            check = Worst(name)
            with np.errstate(invalid="ignore"):
                away = np.abs(one - two)
            check.add(step, away, 8 * unit * np.maximum(np.abs(one), np.abs(two)), one, two)
            self.checks[name] = check
        self._stats = [self._moving(old_view), self._moving(new_view)]

    def _moving(self, view):
        # NaN in the statistics is a finding elsewhere; here it makes every error NaN.
        decay = view.decay if view.decay is not None else 1.0
        return checker.MovingStats(
            *view.before,
            decay=decay,
            bessel=bool(self.law["bessel"]),
            dtype=view.layer.dtype,
            recurrence=view.layer.recurrence,
            input_error=getattr(view.record, "input_error", 0.0),
        )

    def _update(self, step, old, new):
        for i, name in enumerate(("moving mean", "moving variance")):
            with np.errstate(invalid="ignore"):
                away = np.abs(old.after[i] - new.after[i])
            self.differences[name] = max(
                self.differences.get(name, 0.0), float(np.max(np.where(np.isnan(away), np.inf, away)))
            )
        if not old.updates:
            return
        self.compared_training += 1
        self._directly(step, old, new)
        usable = self._lawful and old.decay is not None and old.all_moments and new.all_moments
        if not usable or max(len(old.updates), len(new.updates)) > 1 or old.weighted or new.weighted:
            self._lawful = False
            return
        for stats, view in zip(self._stats, (old, new), strict=True):
            stats.update(view.all_moments[view.updates[0]], decay=old.decay)
        expected = (self._stats[1].mean, self._stats[1].variance), (self._stats[0].mean, self._stats[0].variance)
        bounds = self._stats[1].mean_bound, self._stats[1].variance_bound
        for i, name in enumerate(("moving mean", "moving variance")):
            check = self.checks.setdefault(name, Worst(name))
            with np.errstate(invalid="ignore"):
                check.add(step, np.abs(new.after[i] - expected[0][i]), bounds[i], expected[0][i], new.after[i])

    def _directly(self, step, old, new):
        """The statistics after an update against OLD's own; several updates in one step have no order."""
        if not self._equal or old.decay is None or not old.all_moments or not new.all_moments:
            return
        if not len(old.updates) == len(new.updates) == 1 or not (old.finite.all() and new.finite.all()):
            self._equal = False
            return
        for view in (old, new):
            stats = self._moving(view)
            stats.update(checker.Moments(view.counts[0], view.moments[0].mean, view.moments[0].variance))
            # Whatever both do in place of this update rounds about as often, twice at most.
            bound = 2 * np.stack([stats.mean_bound, stats.variance_bound])
            self._allowed = bound if self._allowed is None else self._allowed + bound
        for i, name in enumerate(("moving mean", "moving variance")):
            check = self.direct.setdefault(name, Worst(f"{name} against OLD's own"))
            check.add(step, np.abs(new.after[i] - old.after[i]), self._allowed[i], old.after[i], new.after[i])

    def _outputs(self, step, old, new, old_view, new_view):
        if old.outputs is None or new.outputs is None or old.inputs is None or new.inputs is None:
            return
        if old.weights is not None or new.weights is not None or old.layer.renorm or new.layer.renorm:
            self._note("The outputs of layers with weights or batch renormalisation are not compared.")
            return
        epsilon = self.law["epsilon"]
        if epsilon is None or old_view.wrong_shape or new_view.wrong_shape or old.training != new.training:
            return
        self.compared_outputs += 1
        check = self.checks.setdefault("outputs", Worst("outputs"))
        moving = self._stats[1] if self._lawful else None
        lacks = [name for name in ("gamma", "beta") if getattr(old, name) is not None and getattr(new, name) is None]
        self.lacks = lacks or self.lacks
        for i, training in enumerate(old.training):
            functions = [
                _function(old_view, old, i, training, epsilon, None, None),
                _function(new_view, new, i, training, epsilon, old, moving),
            ]
            self._application(step, i, old, new, functions, check)
            if lacks:
                self._bare_outputs(step, i, new, _function(new_view, new, i, training, epsilon, None, moving))

    def _bare_outputs(self, step, i, new, function):
        """The outputs against those of a layer without the gamma or beta that NEW does not record."""
        for rows, out in blocks(*(channels_last(arrays[i], new) for arrays in (new.inputs, new.outputs))):
            _, _, worst = _against(function, rows, out)
            self.bare.add(step, *worst)

    def _application(self, step, i, old, new, functions, check):
        x, y, was_seen, seen = (
            channels_last(arrays[i], r)
            for arrays, r in zip((old.inputs, new.inputs, old.outputs, new.outputs), (old, new, old, new), strict=True)
        )
        olds = [x] if x.shape == y.shape else []
        if olds and self._equal:
            olds.append(was_seen)
        wide = [2 * (functions[0][j] + functions[1][j]) for j in (3, 4)]
        for rows, out, *first in blocks(y, seen, *olds):
            expected, error, worst = _against(functions[1], rows, out)
            check.add(step, *worst)
            self.added = max(self.added or 0.0, _largest(error))
            if not first:
                continue
            with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
                was = functions[0][0] * (first[0] - functions[0][1]) + functions[0][2]
                self.inherited = max(self.inherited or 0.0, _largest(expected - was))
                if not math.isfinite(self.inherited):
                    text = f"An input or an output that follows from it is not finite in step {step}."
                    self.not_finite.setdefault("outputs", text)
                if first[1:]:
                    own, direct = first[1], self.direct.setdefault("outputs", Worst("outputs against OLD's own"))
                    away, bound = np.abs(out - own), wide[0] * np.abs(rows - functions[1][1]) + wide[1]
                    direct.add(step, *_picked(away, away, bound, own, out))

    def _note(self, text):
        if text not in self.notes:
            self.notes.append(text)


def _not_finite(view):
    """What of a step's record is not finite; None if all is that is compared."""
    gamma, beta = view.record.gamma, view.record.beta
    held = ("statistics", view.before), ("statistics", view.after), ("gamma", gamma), ("beta", beta)
    for what, values in held:
        if values is not None and not np.isfinite(values).all():
            return what
    return None if view.finite.all() else "input"


def _against(function, rows, out):
    """Outputs against those of a `_function`: what is expected, the errors, and what `Worst.add` takes of the worst."""
    scale, mean, beta, steep, flat = function
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        expected = scale * (rows - mean) + beta
        error, bound = np.abs(out - expected), steep * np.abs(rows - mean) + flat
        share = np.where(error == 0, 0.0, error / bound)
    return expected, error, _picked(share, error, bound, expected, out)


def _picked(rank, *arrays):
    """Of [elements, channels] arrays the element of each channel where ``rank`` is largest, or NaN."""
    at = np.argmax(np.where(np.isnan(rank), np.inf, rank), axis=0)[None]
    return [np.take_along_axis(values, at, 0)[0] for values in arrays]


def _largest(error):
    return float(np.max(np.where(np.isnan(error), np.inf, np.abs(error))))


def _unit(dtype):
    return float(np.finfo(np.float32 if dtype == "bfloat16" else dtype).eps) / 2


def _function(view, record, i, training, epsilon, other, moving):
    """Scale, mean and shift of a layer's outputs, and what an honest one may be off: (slope per |x - mean|, constant).

    ``other``: the record whose gamma and beta count where this one has none. ``moving``: the `checker.MovingStats`
    that the moving statistics should be; None for those that the record holds.
    """
    zero = np.zeros(view.before.shape[1])
    if training:
        moments = view.all_moments[i]
        own = checker.MovingStats(zero, zero, decay=0.0)
        own.update(checker.Moments(moments.count, moments.mean, moments.variance) if moments.count else moments)
        mean, variance, mean_bound, variance_bound = own.mean, own.variance, own.mean_bound, own.variance_bound
    elif moving is not None:
        mean, variance = moving.mean, moving.variance
        mean_bound, variance_bound = moving.mean_bound, moving.variance_bound
    else:
        (mean, variance), mean_bound, variance_bound = view.before, zero, zero
    gamma, beta = record.gamma, record.beta
    if other is not None:
        gamma, beta = (other.gamma if gamma is None else gamma), (other.beta if beta is None else beta)
    gamma = np.ones_like(zero) if gamma is None else gamma.astype(np.float64)
    beta = zero if beta is None else beta.astype(np.float64)
    unit = max(_unit("float32"), _unit(record.outputs[i].dtype.name), _unit(view.layer.dtype))
    if record.inputs[i].dtype == np.float16:
        unit = _unit("float16")
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = gamma / np.sqrt(variance + epsilon)
        # The slope that a variance at the end of its bound would have.
        low = np.maximum(variance + epsilon - variance_bound, 0.0)
        reach = np.where(gamma == 0, 0.0, np.abs(gamma) / np.sqrt(low) - np.abs(scale))
    size = np.abs(scale)
    tiny = float(np.finfo(np.float32).tiny) * 16
    steep = ROUNDINGS * unit * size + reach
    flat = ROUNDINGS * unit * (2 * size * np.abs(mean) + np.abs(beta)) + (size + reach) * mean_bound + tiny
    return scale, mean, beta, steep, flat
