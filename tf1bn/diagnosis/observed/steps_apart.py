"""Updates of the statistics in other steps than those that train gamma and beta."""

from ..._util.text import counted, ranges
from ...verdicts import ADVISORY
from ..causes import cause
from .wording import words_of


def not_updated_here(survey, numbers, where):
    """What gamma and beta say of training steps in which the statistics stood still, while other steps move them.

    Args:
      survey: the layer's `Survey`.
      numbers: those of the steps, ascending.
      where: which they are, the start of a sentence.

    Returns:
      A list of `Cause` and one of sentences on what is open; both empty where the steps may be simply without updates.
    """
    progress, still = survey.progress, set(numbers)
    if progress.with_affine >= 2 and still.isdisjoint(progress.affine_alone) and len(progress.neither) >= 2:
        return [], [_trained_elsewhere(where, words_of(survey))]
    alone = progress.without_affine
    if not progress.with_affine and len(alone) >= 2 and still.isdisjoint(progress.neither) and progress.affine_alone:
        return [_in_runs_of_their_own(survey, numbers, where)], []
    return [], []


def _trained_elsewhere(where, words):
    return (
        f"{where} neither the statistics nor gamma and beta changed, and the other training steps change both. Either "
        "these steps train another part of the model, as a discriminator's steps do that run a generator, or they are "
        "passes whose gradients are accumulated, and the statistics are those of the other steps' batches; or these "
        f"steps evaluate, and {words.flag_on}, so that their outputs are normalised by their own batches. Whether the "
        "optimizer ran in them, and what it trained, tells."
    )


def _in_runs_of_their_own(survey, numbers, where):
    """The advisory that the updates run apart from the training."""
    alone = survey.progress.without_affine
    text = (
        f"{where} gamma and beta changed and the statistics did not, and {counted(len(alone), 'other step')} "
        f"({ranges(alone, range(alone[-1] + 1))}) moved the statistics, each by one update with its batch, and trained "
        "nothing: the updates run in calls of their own"
    )
    per_update = len(numbers) / len(alone)
    if per_update >= 1.5:
        text += f", one for {per_update:.2g} steps of training, so that the statistics forget that much more slowly"
    return cause(
        "untrained-steps", f"{text}. That is right if they are fed training data.", severity=ADVISORY, variant="apart"
    )
