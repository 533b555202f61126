"""Which ranks hold other statistics than the first one. Reached through `tf1bn.ranks`."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..trace import Trace
from ..trace.joining import common_steps, is_shared


@dataclasses.dataclass
class LayerRanks:
    """A layer in all ranks.

    Attributes:
      shared: whether the ranks' batches come into one update of it, in any step.
      differing: by the index of a rank, for those whose statistics are not bit by bit those of the first one, a
        sentence on the first step in which they are not.
    """

    shared: bool = False
    differing: dict[int, str] = dataclasses.field(default_factory=dict)


def compare_ranks(traces: list[Trace], names: list[str]) -> tuple[dict[str, LayerRanks], set[int]]:
    """The `LayerRanks` of each layer by its name, and the numbers of the steps that all ranks hold.

    Args:
      traces: those of the ranks, in their order.
      names: the ranks' names.
    """
    layers = {name: LayerRanks() for name in traces[0].layers}
    numbers = set()
    for steps, _ in common_steps(traces):
        numbers.add(steps[0].number)
        for name, first in steps[0].layers.items():
            layer, records = layers[name], [step.layers.get(name) for step in steps]
            layer.shared = layer.shared or is_shared(records)
            for i, record in enumerate(records):
                if record is None or i in layer.differing:
                    continue
                for statistic in ("moving_mean_after", "moving_variance_after"):
                    ours, theirs = getattr(first, statistic), getattr(record, statistic)
                    if ours.tobytes() != theirs.tobytes():
                        where = f"rank {names[i]} from step {steps[0].number} on"
                        layer.differing[i] = f"{where} ({_first_difference(statistic, ours, theirs)})"
                        break
    return layers, numbers


def _first_difference(statistic: str, ours: np.ndarray, theirs: np.ndarray) -> str:
    words = statistic.removesuffix("_after").replace("_", " ")
    if ours.shape != theirs.shape:
        return f"its {words} has {theirs.size} channels instead of {ours.size}"
    # By the bits, so that NaN is NaN.
    unequal = [a.tobytes() != b.tobytes() for a, b in zip(ours, theirs, strict=True)]
    channel = unequal.index(True)
    return f"its {words} is {theirs[channel]:.9g} in channel {channel}, and {ours[channel]:.9g} in the first rank"
