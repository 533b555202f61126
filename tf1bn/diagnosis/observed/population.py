"""Statistics of runs without training that are far from the data that the layer normalises."""

from ..._util.text import counted
from ..causes import cause
from .training import DOMINATED


def does_not_fit(survey):
    """List of the causes of statistics that are far from the data of the inference steps."""
    if survey.progress.trained or survey.progress.initial or survey.anomalies.moved_in_tests:
        return []
    distance = survey.population.distance()
    if distance is None:
        return []
    weight = distance.start_weight
    if weight is not None and weight > DOMINATED:
        text = (
            f"Mean and variance both lie {1 - weight:.0%} of the way from the start values (0, 1) to the data's, so "
            f"the start values still make up about {weight:.0%} of them: too few updates for their decay."
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
