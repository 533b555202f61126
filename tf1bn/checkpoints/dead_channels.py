"""Channels that nothing which varies reaches, and what the value of their variance tells about how they came to it."""

import numpy as np

from ..verdicts import ADVISORY, cause_entry

# Beside the smallest epsilon in use, 1e-5, such a variance lets the normalised values vary by 1e-6 at most.
DEAD_VARIANCE = 1e-17
DECAYS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.997, 0.999, 0.9997, 0.9999)
LEAST_NORMAL = 2.0**-126
LEAST_SUBNORMAL = 2.0**-149


def never_fed(mean, variance):
    """The channels that were fed only zeros: the mean stayed 0, and part of the variance's start value 1 is left."""
    still = mean == 0
    fed_nothing = still & (variance > 0) & (variance < 1)
    if still.all() and not fed_nothing.all():
        return np.zeros_like(still)
    # What is left of the start value is the same in all such channels.
    return fed_nothing if np.unique(variance[fed_nothing]).size <= 1 else np.zeros_like(fed_nothing)


def dead(layer, wide, where):
    """An advisory on channels whose variance is nearly 0, and on channels that were fed only zeros.

    Args:
      layer: a `grouping.Layer`.
      wide: its flat float64 vectors by role.
      where: function from a boolean vector to words that name the channels.
    """
    variance, mean = wide.get("variance"), wide.get("mean")
    # bad-variance says it better where every channel is 0.
    if variance is None or (variance.size > 1 and not variance.any()):
        return
    texts = []
    is_dead = (variance >= 0) & (variance <= DEAD_VARIANCE)
    if is_dead.any():
        worst = variance[is_dead].max()
        what = "0" if worst == 0 else f"at most {worst:.5g}"
        texts.append(
            f"The moving variance (`{layer.parts['variance']}`) is {what} in {where(is_dead)}: the inputs there did "
            f"not vary{' in the last batches' if worst else ''}, and any that do are multiplied by 1/sqrt(epsilon)."
        )
        texts += _meaning(variance[is_dead])
    if mean is not None and mean.size == variance.size:
        silent = never_fed(mean, variance) & ~is_dead
        if silent.any():
            texts.append(
                f"In {where(silent)} the moving mean is exactly 0 and the moving variance {variance[silent][0]:.6g}, "
                "what is left of its start value 1: only zeros were ever fed there."
            )
    if texts:
        yield cause_entry("dead-channel", " ".join(texts), ADVISORY)


def _meaning(variances):
    """A sentence on what the dead channels' variances tell, in a list; an empty list if they tell nothing."""
    values = np.unique(variances[variances > 0])
    decays = [decay for decay in DECAYS if values.size and _stops(values, decay).all()]
    if len(decays) != 1:
        return []
    # No single number decides between flushed and kept subnormal numbers, but their sizes differ by 2**23.
    flushed = values.min() >= LEAST_NORMAL
    number = (
        "the least normal float32 number, 1.17549e-38," if flushed else "half the least float32 number, 7.00649e-46,"
    )
    return [
        f"{values.max():.5g} is {number} divided by 1 - {decays[0]:g}, where a float32 variance stops that decays at "
        f"{decays[0]:g} per step and gets nothing added: the channel was constant until the end."
    ]


def _stops(values, decay):
    """Which values are those where ``v - v * (1 - decay)`` and ``v * decay`` stop falling in float32.

    Where subnormal numbers are flushed to 0 that is the first value whose decrement is subnormal; else the first whose
    decrement is at most half the distance of two subnormal numbers.
    """
    last_normal = LEAST_NORMAL / (1 - decay)
    last_subnormal = LEAST_SUBNORMAL / 2 / (1 - decay)
    flushed = (values >= decay * last_normal * (1 - 1e-4)) & (values <= last_normal * (1 + 1e-4))
    # Rounding to even ends one below it where it is odd.
    return flushed | (np.abs(values - last_subnormal) < 1.5 * LEAST_SUBNORMAL)
