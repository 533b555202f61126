"""Whether the moments of a batch are enough to judge an update, so that its inputs need not be kept."""

from __future__ import annotations

from typing import Any

from .. import checker, trace


def moments_decide(layer: trace.Layer, before: Any, after: Any, moments: checker.Moments, decay: float | None) -> bool:
    """Whether the moments alone tell that one update was right or wrong.

    They do not where the statistics lie between the expected error and the worst case: only a replay of the batch
    itself decides there. True also for layers that are not judged by one update, such as zero-debiased ones.

    Args:
      layer: the layer's settings.
      before, after: moving mean and moving variance around the update, [channels] each.
      moments: those of the batch.
      decay: that of the update; None if it is not known.
    """
    if layer.zero_debias or layer.renorm or layer.fused is None or decay is None:
        return True
    try:
        stats = checker.MovingStats(
            *before,
            decay=decay,
            bessel=layer.fused,
            dtype=layer.dtype,
            rate_dtype=layer.rate_dtype,
            recurrence=layer.known_recurrence,
            variance_from=layer.variance_from,
        )
        stats.update(moments)
        return stats.compare(*after).verdict != "undecidable"
    except ValueError:
        # What cannot be judged now is said by the audit.
        return True
