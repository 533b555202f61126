"""What the values themselves show, whatever the updates should have been."""

import numpy as np

from ..._util.text import listed
from ...verdicts import ADVISORY
from ..causes import cause
from .wording import words_of

LARGE_EPSILON = 0.1  # the least momentum or decay that is usual, and far more than keeps a division by 0 away


def large_epsilon(survey):
    """The advisory about a declared epsilon that is as large as a momentum or a decay; None for any other."""
    epsilon = survey.layer.epsilon
    if epsilon is None or not LARGE_EPSILON <= epsilon <= 1:
        return None
    text = (
        f"The declared epsilon is {epsilon:.9g}: a channel of variance v is scaled to a deviation of sqrt(v / (v + "
        f"{epsilon:.9g})), {(1 + epsilon) ** -0.5:.2g} where v is 1, before gamma. Usual are 1e-5 to 1e-3, and "
        "this may be a momentum or a decay that was passed in its place, or be meant."
    )
    return cause("epsilon", text, severity=ADVISORY, variant="large")


def values(survey, others_moved):
    """Causes that are seen in the values themselves."""
    seen, progress, causes = survey.anomalies, survey.progress, []
    if (first := seen.not_finite) is not None:
        source = "; the input holds NaN or infinity there" if first.from_input else ""
        text = f"The {first.statistic} is NaN or infinite {first.when} step {first.step}, in "
        causes.append(cause("not-finite", f"{text}{_channels(first.channels)}{source}."))
    elif seen.not_updated_with_input is not None:
        number, channels = seen.not_updated_with_input
        text = (
            f"In step {number} the input holds NaN or infinity in {_channels(channels)} and the statistics do "
            "not, before or after: they were not updated with this input."
        )
        causes.append(cause("not-finite", text))
    if seen.bad_variance is not None:
        bad = seen.bad_variance
        text = f"The moving variance is negative {bad.when} step {bad.step}, {bad.value:.3g} in channel {bad.channel}"
        if came_in := (bad.step, bad.when) == (progress.first["seen"], "before"):
            text += ", so it was there before the recorded run"
        causes.append(cause("bad-variance", text + ".", variant="before" if came_in else None))
    if seen.dead is not None and seen.dead.all() and seen.still_zero and len(seen.dead) > 1:
        causes += _never_averaged(progress)
    elif seen.dead is not None and seen.dead.any():
        channels = _channels(np.flatnonzero(seen.dead))
        text = f"The moving variance is 0 in every step in {channels}: no input that varies has reached it."
        causes.append(cause("dead-channel", text))
    if not progress.trained and progress.initial and progress.affine_trained and not progress.affine_moved:
        causes += _never_moved(survey, others_moved)
    return causes


def _never_averaged(progress):
    """The cause of statistics that are all 0, as tf.train.ExponentialMovingAverage starts those of tensors."""
    if progress.trained:
        return []  # that no update ran is said already
    text = (
        "The moving mean and the moving variance are 0 in all channels and no step updates them, as where a "
        "tf.train.ExponentialMovingAverage of the batch's moments, which starts from 0, was never applied or not "
        "restored: inference divides by the root of epsilon alone."
    )
    return [cause("bad-variance", text)]


def _channels(numbers):
    """Some of a layer's channels: "channel 2", or "channels 0, 1, 5"."""
    return f"{'channel' if len(numbers) == 1 else 'channels'} {listed(numbers, 6)}"


def _never_moved(survey, others_moved):
    """The two causes that fit statistics at (0, 1) beside a trained gamma or beta, in a run that trains nothing."""
    words = words_of(survey)
    start = "The statistics are still mean 0 and variance 1 while beta or gamma are trained"
    if others_moved:
        start += ", and other layers have moved statistics"
    either = f"Either they were not restored with beta and gamma, or no update ever ran; {words.what_was_restored}."
    restored = cause("not-restored", f"{start}. {either}")
    updated = cause(
        "not-updated",
        "The other way to read them: no update of the statistics had ever run when beta and gamma were saved.",
    )
    return [restored, updated]
