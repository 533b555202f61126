"""What a recalibration found and did. Reached through `tf1bn.recalibration`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class LayerReport:
    """The old and the new statistics of one layer; all vectors are [channels].

    Attributes:
      name: the layer's name.
      count: the number N of values per channel that the new statistics are of.
      old_mean, old_variance: the moving statistics from before.
      new_mean, new_variance: the new ones as the layer stores them: rounded to its dtype, the variance times N/(N-1)
        where the layer stores the unbiased variance.
      data_mean, data_variance: float64, the moments of the data, the variance being the population variance.
      epsilon: the layer's; None if it is not known.
    """

    name: str
    count: int
    old_mean: Vector
    old_variance: Vector
    new_mean: Vector
    new_variance: Vector
    data_mean: Vector
    data_variance: Vector
    epsilon: float | None

    @property
    def mean_shift(self) -> float:
        """The largest |old - new| of a mean, in standard deviations of its channel's data; infinite if these are 0."""
        return _largest_ratio(self._mean_difference, _roots(self.data_variance))

    @property
    def mean_standard_errors(self) -> float:
        """The largest |old - new| of a mean, in standard errors sqrt(variance / N) of independent values."""
        return _largest_ratio(self._mean_difference, _roots(self.data_variance / self.count))

    @property
    def variance_ratio(self) -> tuple[float, float]:
        """The smallest and the largest ratio of an old variance to the new one; NaN where both are 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = self.old_variance.astype(np.float64) / self.new_variance.astype(np.float64)
        finite = ratios[~np.isnan(ratios)]
        return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)

    @property
    def output_change(self) -> float:
        """How much the layer's outputs change over the data, in the channel that changes most.

        It is the root of the mean square of the change, as a share of the deviation that the new outputs have. Gamma
        cancels out, and beta does. It follows from the moments: the change of an output is linear in the input.
        """
        epsilon = self.epsilon or 0.0
        old, new = (
            _roots(variance.astype(np.float64) + epsilon) for variance in (self.old_variance, self.new_variance)
        )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slope = 1 / old - 1 / new
            # (x - old mean) / old - (x - new mean) / new, at the mean of x.
            middle = (self.data_mean - self.old_mean) / old - (self.data_mean - self.new_mean) / new
            change = np.sqrt(slope**2 * self.data_variance + middle**2)
            return _largest_ratio(change, _roots(self.data_variance) / new)

    @property
    def _mean_difference(self) -> Vector:
        return np.abs(self.old_mean.astype(np.float64) - self.new_mean.astype(np.float64))


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """What a recalibration found.

    Attributes:
      order: "batch" or "sequential".
      layers: a `LayerReport` for each layer that has new statistics, in the order in which they are applied.
      left_out: dict from the names of the other layers to the reason, a sentence.
      passes: how often the data were run through; batches: how many they are.
      written: whether the new statistics were written.
    """

    order: str
    layers: tuple[LayerReport, ...]
    left_out: Mapping[str, str]
    passes: int
    batches: int
    written: bool

    def to_json(self) -> str:
        """The report as JSON text; numbers that JSON cannot hold are null."""
        content = {
            "format": "tf1bn-recalibration",
            "order": self.order,
            "passes": self.passes,
            "batches": self.batches,
            "written": self.written,
            "layers": [_as_dict(layer) for layer in self.layers],
            "left_out": dict(self.left_out),
        }
        return json.dumps(content, indent=1, allow_nan=False)

    def __str__(self) -> str:
        """A table with a line for each layer, and what it means."""
        done = "were written" if self.written else "were not written"
        lines = [
            f"New moving statistics of {_counted(len(self.layers), 'layer')} from {_counted(self.batches, 'batch')} "
            f"{done} (order {self.order!r}, {_counted(self.passes, 'pass')}).",
            "",
            f"{'layer':<32} {'values':>10} {'mean off by':>12} {'old / new variance':>22} {'outputs change':>15}",
        ]
        for layer in self.layers:
            low, high = layer.variance_ratio
            ratio = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
            change = f"{layer.output_change:.1%}"
            lines.append(f"{layer.name:<32} {layer.count:>10} {layer.mean_shift:>9.2g} sd {ratio:>22} {change:>15}")
        lines += ["", "sd: standard deviations of the data, in the channel that is furthest off."]
        lines += [f"Left out: {name}: {reason}" for name, reason in self.left_out.items()]
        return "\n".join(line.rstrip() for line in lines)


def _as_dict(layer: LayerReport) -> dict[str, Any]:
    low, high = layer.variance_ratio
    numbers = {
        "mean_shift": layer.mean_shift,
        "mean_standard_errors": layer.mean_standard_errors,
        "variance_ratio": [low, high],
        "output_change": layer.output_change,
        "epsilon": layer.epsilon,
        **{
            name: getattr(layer, name).astype(np.float64).tolist()
            for name in ("old_mean", "old_variance", "new_mean", "new_variance")
        },
    }
    return {"name": layer.name, "count": layer.count, **{name: _plain(value) for name, value in numbers.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or np.isfinite(value) else None


def _roots(variance: Vector) -> Vector:
    return np.sqrt(np.maximum(variance, 0.0))


def _largest_ratio(above: Vector, below: Vector) -> float:
    """The largest ratio of a difference and a deviation; nothing over nothing is no difference."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(np.where(above == 0, 0.0, above / below)))


def _counted(count: int, word: str) -> str:
    plural = f"{word}es" if word.endswith(("s", "ch")) else f"{word}s"
    return f"{count} {word if count == 1 else plural}"
