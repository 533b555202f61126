"""Statistics of runs without training that are far from the data that the layer normalises."""

from ..._util.text import counted
from ..causes import cause
from .training import DOMINATED

NEAR_THE_START = 0.8  # the share of the start values from which data of another scale can look the same


def does_not_fit(survey):
    """List of the causes of statistics that are far from the data of the inference steps."""
    progress = survey.progress
    if progress.trained or survey.anomalies.moved_in_tests:
        return []
    distance = survey.population.distance()
    if distance is None:
        return []
    if progress.initial:
        # Beside a trained gamma or beta this is a finding, with a cause of its own.
        return [_new_layer(distance)] if distance.far and not progress.affine_trained else []
    weight = distance.start_weight
    if weight is not None and weight > DOMINATED:
        text = (
            f"Mean and variance both lie {1 - weight:.0%} of the way from the start values (0, 1) to the data's, so "
            f"the start values still make up about {weight:.0%} of them: too few updates for their decay."
        )
        if weight > NEAR_THE_START:
            text += (
                " Or the data are of a larger scale than those of the training, as with another preprocessing, which "
                "looks much the same."
            )
        return [cause("cold-start", text)]
    if not distance.far:
        return []
    text = (
        f"The statistics are far from the data that they normalise: over {counted(distance.samples, 'sample')} "
        f"({distance.values:,} values per channel) the mean is off by {distance.mean:.2g} deviations "
        f"({distance.errors:.2g} standard errors) and the variance is {distance.factor:.3g} times the moving one, in "
        "the median of the channels. Either the data are other than those of the training (another set, scale or "
        "preprocessing), or the statistics are not those of these weights (averaged or fine-tuned weights without "
        "their statistics, a restore that left them out); statistics recomputed on the training data tell."
    )
    return [cause("statistics-do-not-fit", text)]


def _new_layer(distance):
    """The cause of a layer in inference that is as new, on data that is not as its start values are."""
    text = (
        "The statistics are the start values, mean 0 and variance 1, and gamma and beta are those of a new layer: it "
        f"has not been trained, or nothing of it was restored. The mean of its data is off by {distance.mean:.2g} "
        f"deviations and their variance is {distance.factor:.3g}, in the median of the channels."
    )
    return cause("cold-start", text)
