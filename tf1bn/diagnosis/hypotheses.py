"""What the moving statistics would be if one thing, or two, had gone wrong. Used by ``diagnosis``.

A `Hypothesis` is a set of deviations from what a layer declares, one at most along each axis: the variance convention,
the rate, how often and in which order the updates of a step run, what is averaged, how it is stored. All of them are
predictions of the statistics after a step from those before it, judged by `checker.MovingStats` and its bounds.
"""

import dataclasses
import itertools

import numpy as np

from .. import checker
from ..evidence.averaged import debias_state, renormalised
from ..evidence.step_view import cut
from ..verdicts import RANK


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """Deviations from what a layer declares; without any, the layer as it is declared.

    Attributes:
      ids: the causes that it stands for.
      bessel: None for the declared convention, True, False, or "keras" for N/(N-1-epsilon).
      decay: a number, "flipped" for 1 - d, or None for the declared one.
      repeats: how often each update of a step runs.
      order: "successive": one after the other, whichever is first; "any": any outcome of updates that race; or the
        index of the only one that runs.
      quantity: "variance", "deviation", "unweighted", "renorm", or ("axis", n).
      dtype, rate_dtype: None for the declared ones.
      zero_debias: None for the declared one.
    """

    ids: tuple = ()
    bessel: object = None
    decay: object = None
    repeats: int = 1
    order: object = "successive"
    quantity: object = "variance"
    dtype: str | None = None
    rate_dtype: str | None = None
    zero_debias: bool | None = None

    def merged(self, other):
        """Both deviations together; None if they are along the same axis."""
        if _axes(self) & _axes(other):
            return None
        changes = {name: getattr(other, name) for name in _changed(other)}
        return dataclasses.replace(self, ids=self.ids + other.ids, **changes)


_DEFAULTS = Hypothesis()


def _changed(hypothesis):
    names = [field.name for field in dataclasses.fields(Hypothesis) if field.name != "ids"]
    return {name for name in names if getattr(hypothesis, name) != getattr(_DEFAULTS, name)}


def _axes(hypothesis):
    same = {"repeats": "updates", "order": "updates", "rate_dtype": "decay"}
    return {same.get(name, name) for name in _changed(hypothesis)}


def singles(layer, view, bessel, decays):
    """Every single deviation that a layer can have; ``decays``: those that the data suggest."""
    found = []
    if not view.weighted:
        other = "no-bessel" if bessel else "bessel"
        found.append(Hypothesis((other,), bessel=not bessel))
        found.append(Hypothesis(("keras-bessel",), bessel="keras"))
    if len(view.updates) > 1:
        found += [Hypothesis(("one-tower-only",), order=i) for i in range(len(view.updates))]
        found.append(Hypothesis(("double-update",), order="any"))
    else:
        found += [Hypothesis(("double-update",), repeats=times) for times in (2, 3, 4)]
    found.append(Hypothesis(("momentum-flipped",), decay="flipped"))
    found.append(Hypothesis(("no-memory",), decay=0.0))
    found += [Hypothesis(("decay",), decay=decay) for decay in decays]
    found.append(Hypothesis(("std-for-variance",), quantity="deviation"))
    if view.weighted and view.record.inputs is not None:
        found.append(Hypothesis(("padding-counted",), quantity="unweighted"))
    found += [Hypothesis(("wrong-axis",), quantity=("axis", axis)) for axis in view.other_axes()]
    if not layer.renorm:
        found.append(Hypothesis(("zero-debias",), zero_debias=not layer.zero_debias))
        if any(name.startswith("renorm_") for name in view.record.state):
            found.append(Hypothesis(("renorm",), quantity="renorm"))
    if layer.rate_dtype is not None:
        other = {"float32": "float64", "float64": "float32"}[layer.rate_dtype]
        found.append(Hypothesis(("float32-decay",), rate_dtype=other))
    if layer.dtype != "float16":
        found.append(Hypothesis(("half-precision",), dtype="float16"))
    return found


def pairs(found):
    """Every two of the deviations ``found`` that can occur together."""
    both = (one.merged(other) for one, other in itertools.combinations(found, 2))
    return [hypothesis for hypothesis in both if hypothesis is not None]


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """How a prediction stands to what was observed.

    Attributes:
      verdict: "ok", "undecidable" or "finding".
      misfit: the largest error in units of what is allowed there.
      comparison: the `checker.MovingComparison`; None if there was nothing to compare.
      replayed: whether it took a replay of the batches to find it ok.
      stats: the `checker.MovingStats` that made it.
      updates: the training applications, as indices among those, in the order that it took; empty where they race.
    """

    verdict: str
    misfit: float
    comparison: object = None
    replayed: bool = False
    stats: object = None
    updates: tuple = ()


IMPOSSIBLE = Fit("finding", np.inf)


def fit(view, hypothesis, bessel, updates_before=0):
    """The `Fit` of a hypothesis to a step.

    Args:
      view: the step's `stepview.View`, with at least one training application and one finite channel.
      bessel: the declared convention.
      updates_before: how many updates the layer had before, for zero debias without a recorded state.
    """
    moments = _moments(view, _quantity(view, hypothesis))
    decay = _decay(view, hypothesis)
    if moments is None or decay is None:
        return IMPOSSIBLE
    if hypothesis.dtype == "float16" and not _on_grid(view):
        return IMPOSSIBLE
    best, tried = IMPOSSIBLE, []
    for updates in _schedules(hypothesis, len(moments)):
        found = _fit(view, hypothesis, bessel, moments, decay, updates, updates_before)
        tried.append(found)
        best = min(best, found, key=_order)
        if best.verdict == "ok" and hypothesis.order != "any":
            break
    # Of float16 statistics almost anything fits somewhere, so they are held to one order.
    if best.verdict != "ok" and hypothesis.dtype is None:
        best = min(best, _apart(tried), key=_order)
    return best


def _order(found):
    return RANK[found.verdict], found.misfit


def _apart(tried):
    """The best outcome of each statistic: the updates of the mean race apart from those of the variance."""
    compared = [found.comparison for found in tried if found.comparison is not None]
    if len(compared) < 2:
        return IMPOSSIBLE
    best = [min(parts, key=lambda one: (RANK[one.verdict], one.share)) for parts in zip(*compared, strict=True)]
    if any(np.isnan(one.share) for one in best):
        return IMPOSSIBLE
    whole = dataclasses.replace(compared[0], mean=best[0], variance=best[1])
    nearest = min(tried, key=_order)
    return dataclasses.replace(
        nearest, verdict=whole.verdict, misfit=float(max(one.share for one in best)), comparison=whole, replayed=False
    )


def _fit(view, hypothesis, bessel, moments, decay, updates, updates_before):
    arguments = {"decay": decay, "bessel": bessel if hypothesis.bessel is None else hypothesis.bessel}
    factor = 1.0
    if arguments["bessel"] == "keras":
        arguments["bessel"] = False
        factor = "keras"
    if view.weighted and hypothesis.quantity != "unweighted":
        arguments["bessel"] = False
    stats = _start(view, hypothesis, arguments, updates_before)
    if stats is None:
        return IMPOSSIBLE
    if updates == "parallel":
        rate = len(moments) * (1 - decay)
        if rate > 1:
            return IMPOSSIBLE
        scales = [_bessel_factor(one.count) if arguments["bessel"] else 1.0 for one in moments]
        merged = checker.Moments(
            sum(one.count for one in moments),
            np.mean([one.mean for one in moments], axis=0),
            np.mean([one.variance * scale for one, scale in zip(moments, scales, strict=True)], axis=0),
        )
        arguments |= {"bessel": False, "decay": 1 - rate}
        stats = _start(view, hypothesis, arguments, updates_before)
        stats.update(merged)
        for _ in moments[1:]:
            # No step, but the roundings of one more: with decay 1 there would be none.
            stats.update(checker.Moments(merged.count, stats.mean, stats.variance), decay=decay)
    else:
        for i in updates:
            stats.update(_scaled(moments[i], factor, view.layer.epsilon))
    after = _around(view, hypothesis)[1]
    if after is None:
        return IMPOSSIBLE
    compared = stats.compare(*after)
    replayed = False
    plain = _quantity(view, hypothesis) == "variance" and factor == 1.0 and updates != "parallel"
    if compared.verdict == "undecidable" and plain and (batches := view.batches()) is not None:
        stats = _start(view, hypothesis, arguments, updates_before)
        for i in updates:
            stats.update(batches[i][0], weights=batches[i][1])
        compared = stats.compare(*after)
        replayed = compared.ok
    shares = [one.share for one in compared]
    if compared.verdict == "undecidable":
        # Without the batches the bound is the worst case.
        bounds = np.maximum([stats.mean_bound, stats.variance_bound], np.finfo(np.float64).tiny)
        shares = (np.abs(after - [stats.mean, stats.variance]) / bounds).max(axis=1)
    misfit = np.inf if any(np.isnan(share) for share in shares) else float(max(shares))
    order = () if updates == "parallel" else tuple(updates)
    return Fit(compared.verdict, misfit, compared, replayed, stats, order)


def _start(view, hypothesis, arguments, updates_before):
    layer = view.layer
    debias = layer.zero_debias if hypothesis.zero_debias is None else hypothesis.zero_debias
    before = _around(view, hypothesis)[0]
    more = {}
    if debias:
        more = debias_state(view, before, arguments["decay"], updates_before, view.finite)
        if more is None:
            return None
    return checker.MovingStats(
        *before,
        dtype=hypothesis.dtype or layer.dtype,
        rate_dtype=hypothesis.rate_dtype or (layer.rate_dtype if hypothesis.decay is None else None),
        # A release of TensorFlow 1.x says which recurrence it is.
        input_error=getattr(view.record, "input_error", 0.0),
        recurrence=layer.recurrence or (None if layer.release is None else "difference"),
        **arguments,
        **more,
    )


def _moments(view, quantity):
    """The moments that would be averaged, for each application that trained; None if there are none."""
    if isinstance(quantity, tuple):
        made = [view.moments_of(i, axis=quantity[1], weights=False) for i in view.updates]
        return [cut(one, view.finite) for one in made]
    if view.all_moments is None:
        return None
    if quantity == "renorm":
        return renormalised(view)
    if quantity == "unweighted":
        return [cut(view.moments_of(i, weights=False), view.finite) for i in view.updates]
    if quantity == "deviation":
        return [checker.Moments(one.count, one.mean, np.sqrt(one.variance), one.weight) for one in view.moments]
    return view.moments


def _quantity(view, hypothesis):
    return "renorm" if view.layer.renorm and hypothesis.quantity == "variance" else hypothesis.quantity


def _around(view, hypothesis):
    """The averages before and after, [2, channels] each; after is None where a renorm's variance is not its own.

    With moving_stddev the moving variance is no average: it is set to relu(moving_stddev^2 - epsilon).
    """
    before, after = view.around
    state = view.record.state
    if _quantity(view, hypothesis) != "renorm" or not {"moving_stddev", "moving_stddev_after"} <= state.keys():
        return before, after
    was, now = (state[name].astype(np.float64)[view.finite] for name in ("moving_stddev", "moving_stddev_after"))
    epsilon = view.layer.epsilon
    unit = 4 * float(np.finfo(view.layer.dtype).eps)
    with np.errstate(over="ignore", invalid="ignore"):
        assigned = np.abs(after[1] - np.maximum(now**2 - epsilon, 0)) <= unit * (now**2 + epsilon)
    return np.stack([before[0], was]), np.stack([after[0], now]) if assigned.all() else None


def _decay(view, hypothesis):
    decay = hypothesis.decay
    if decay is None:
        return view.decay
    if decay == "flipped":
        return None if view.decay is None else 1 - view.decay
    return decay


def _schedules(hypothesis, count):
    """The updates that run, as indices, in each of the ways that are possible."""
    if isinstance(hypothesis.order, int):
        return [[hypothesis.order]] if hypothesis.order < count else []
    forward = [i for i in range(count) for _ in range(hypothesis.repeats)]
    if count < 2:
        return [forward]
    orders = [list(order) for order in itertools.permutations(forward)] if count <= 3 else [forward, forward[::-1]]
    # TensorFlow gives two updates in one run no order; it may also start both from the old value, or lose one.
    return orders if hypothesis.order == "successive" else [*orders, "parallel", *([i] for i in range(count))]


def _scaled(moments, factor, epsilon):
    if factor == 1.0:
        return moments
    rest = moments.count - 1 - (1e-3 if epsilon is None else epsilon)
    factor = moments.count / rest if rest > 0 else 1.0
    return checker.Moments(moments.count, moments.mean, moments.variance * factor, moments.weight)


def _bessel_factor(count):
    return count / (count - 1) if count > 1 else 1.0


def _on_grid(view):
    """Whether the statistics that the step moved are float16 numbers, or all of them where it moved none."""
    after = view.after[:, view.finite]
    moved = after[after != view.before[:, view.finite]]
    moved = moved if moved.size else after
    with np.errstate(over="ignore"):
        return moved.size > 0 and bool((moved.astype(np.float16) == moved).all())
