"""The ways, one or two at a time, in which a layer's updates can deviate from what it declares.

A `Hypothesis` is a set of deviations, at most one of each kind: the variance convention, the rate, how often and in
which order the updates of a step run, what is averaged, how it is stored. `fitting` makes a prediction of each.
"""

import dataclasses
import itertools

import numpy as np

from ..checker.roundoff import HALVES, UNIT_ROUNDOFF

SAME_DECAY = UNIT_ROUNDOFF["float32"]


def same_decay(decay, declared, dtype):
    """Whether a decay is the declared one up to what rounding to float32 makes of it.

    Statistics in float64 show a difference below that, unless it is the rounding itself.
    """
    if dtype != "float64":
        return abs(decay - declared) <= SAME_DECAY
    rounded = float(np.float32(declared)), 1.0 - float(np.float32(1.0 - declared))
    return any(abs(decay - other) <= 1e-12 for other in (declared, *rounded))


@dataclasses.dataclass(frozen=True)
class Cumulative:
    """The rates of an average in which every batch has the same weight: 1/n in the first step, then 1/(n + 1)."""

    start: int

    def decay(self, updates_before):
        """The decay of the update before which there were so many."""
        return 1 - 1 / (self.start + updates_before)


@dataclasses.dataclass(frozen=True)
class Debiased:
    """The rates of an average over 1 - d^t, with t updates: (1 - d) / (1 - d^t) in update t."""

    def decays(self, declared, updates_before):
        """Those of updates with these decays, before which there were so many others."""
        return [1 - (1 - d) / (1 - d ** (updates_before + i + 1)) if d < 1 else d for i, d in enumerate(declared)]

    def input_error(self, decay):
        """What float32 loses in 1 - d^t, as a share of the average, over the rate: by 1 - d twice and a power."""
        return min(0.5, 4 * UNIT_ROUNDOFF["float32"] / (1 - decay)) if decay < 1 else 0.0


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """Deviations from what a layer declares; without any, the layer as it is declared.

    Attributes:
      ids: the causes that it stands for.
      bessel: None for the declared convention, True, False, or "keras" for N/(N-1-epsilon).
      decay: a number, "flipped" for 1 - d, a `Cumulative`, a `Debiased`, or None for the declared one.
      repeats: how often each update of a step runs.
      order: "successive": the updates of a step run one after the other, in any order; "any": any outcome of updates
        that race; or the index of the only update that runs.
      quantity: "variance", "deviation", "unweighted", "renorm", or ("axis", n).
      variance_from: None for the declared way to compute the variance of a batch, or "squares".
      dtype, rate_dtype: None for the declared ones.
      zero_debias: None for the declared one.
      reduction: how several batches become one update, as `View.moments_reduced` takes it; None for the declared way.
    """

    ids: tuple = ()
    bessel: object = None
    decay: object = None
    repeats: int = 1
    order: object = "successive"
    quantity: object = "variance"
    variance_from: str | None = None
    dtype: str | None = None
    rate_dtype: str | None = None
    zero_debias: bool | None = None
    reduction: object = None

    @property
    def needs_inputs(self):
        """Whether only the inputs themselves can tell, and not their moments."""
        return self.quantity == "unweighted" or isinstance(self.quantity, tuple)

    def merged(self, other):
        """The `Hypothesis` with the deviations of both; None if both have one of the same kind."""
        if _kinds(self) & _kinds(other):
            return None
        changes = {name: getattr(other, name) for name in _changed(other)}
        return dataclasses.replace(self, ids=self.ids + other.ids, **changes)


_DEFAULTS = Hypothesis()


def _changed(hypothesis):
    names = [field.name for field in dataclasses.fields(Hypothesis) if field.name != "ids"]
    return {name for name in names if getattr(hypothesis, name) != getattr(_DEFAULTS, name)}


def _kinds(hypothesis):
    same = {"repeats": "updates", "order": "updates", "reduction": "updates", "rate_dtype": "decay"}
    return {same.get(name, name) for name in _changed(hypothesis)}


def singles(view, bessel, decays, repeats=(2, 3, 4), starts=()):
    """Every `Hypothesis` of one deviation that a layer can have.

    Args:
      view: the `View` of a training step of the layer.
      bessel: the declared convention.
      decays: the decays that the data suggest.
      repeats: how often an update may have run with one batch.
      starts: the numbers that a `Cumulative` may start with.
    """
    layer, rows = view.layer, []
    if not view.weighted:
        rows.append(("no-bessel" if bessel else "bessel", {"bessel": not bessel}))
        rows.append(("keras-bessel", {"bessel": "keras"}))
    if len(view.updates) > 1:
        rows += [("one-tower-only", {"order": i}) for i in range(len(view.updates))]
        rows.append(("double-update", {"order": "any"}))
    else:
        rows += [("double-update", {"repeats": times}) for times in repeats]
    if view.batch_count > 1:
        others = [how for how in ("mean", "pooled") if how != view.reduction]
        # Where each batch is to update the statistics, one that does so alone is a tower.
        others += range(view.batch_count) if view.reduction is not None else ()
        rows += [("replica", {"reduction": how}) for how in others]
    rows.append(("momentum-flipped", {"decay": "flipped"}))
    rows.append(("no-memory", {"decay": 0.0}))
    others = [decay for decay in decays if view.decay is None or not same_decay(decay, view.decay, layer.dtype)]
    rows += [("decay", {"decay": decay}) for decay in others]
    rows += [("cumulative-average", {"decay": Cumulative(start)}) for start in starts]
    rows.append(("std-for-variance", {"quantity": "deviation"}))
    if view.weighted and view.record.inputs is not None:
        rows.append(("padding-counted", {"quantity": "unweighted"}))
    rows += [("wrong-axis", {"quantity": ("axis", axis)}) for axis in view.other_axes()]
    if not layer.renorm:
        rows.append(("zero-debias", {"zero_debias": not layer.zero_debias}))
        if any(name.startswith("renorm_") for name in view.record.state):
            rows.append(("renorm", {"quantity": "renorm"}))
    if layer.rate_dtype is not None:
        rows.append(("float32-decay", {"rate_dtype": {"float32": "float64", "float64": "float32"}[layer.rate_dtype]}))
    rows += [("half-precision", {"dtype": dtype}) for dtype in HALVES if layer.dtype not in HALVES]
    return [Hypothesis((name,), **deviation) for name, deviation in rows]


def pairs(hypotheses):
    """Every two of the ``hypotheses`` that can be true together, merged."""
    merged = (first.merged(second) for first, second in itertools.combinations(hypotheses, 2))
    return [hypothesis for hypothesis in merged if hypothesis is not None]
