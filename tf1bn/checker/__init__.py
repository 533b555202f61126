"""The checker: what the moving statistics of a batch normalization should be, and how far a correct layer can be off.

Everything is recomputed in float64, from the batches or from their moments, by the compiled extension. This package
needs NumPy and the extension; it knows neither TensorFlow nor any layer.

    stats = MovingStats([0.0], [1.0], decay=0.999)
    for batch in batches:
        stats.update(batch)
    comparison = stats.compare(moving_mean, moving_variance)
    print(comparison.ok, comparison)
"""

from .comparison import Comparison, MovingComparison, compare
from .moments import Moments, batch_moments
from .moving_stats import MovingStats

__all__ = ["Comparison", "Moments", "MovingComparison", "MovingStats", "batch_moments", "compare"]
