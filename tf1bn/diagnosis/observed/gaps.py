"""Statistics that changed between the recorded steps, as a cause with what explains the change."""

from ..._util.text import listed
from ...evidence.gaps import AGAIN, BACK, EARLIER, OTHER, START, UPDATES
from ...verdicts import ADVISORY, FINDING
from ..causes import cause
from .wording import words_of


def changed_between_steps(survey):
    """The cause of statistics that changed outside of the recorded steps; None if they did not.

    It is a finding where the batch of the step before explains the change, since that batch counts more than once; and
    another cause where every update is undone. Else it is an advisory: the recorded steps may be a part of the run.
    """
    found = survey.gaps.found
    if not found:
        return None
    if len(found) == survey.gaps.followed >= 2 and all(gap.kind in (START, BACK) for gap in found):
        text = (
            f"Every training step makes new statistics, and the next one starts with the old ones again ({len(found)} "
            f"times): {words_of(survey).not_kept}."
        )
        return cause("not-updated", text, severity=FINDING)
    word = "step" if len(found) == 1 else "steps"
    numbers = listed([gap.step for gap in found], 6)
    parts = [f"The statistics changed outside of the recorded steps before {word} {numbers}."]
    for kind, sentence in (
        (AGAIN, _again),
        (UPDATES, _updates),
        (START, _start),
        (BACK, _back),
        (EARLIER, _earlier),
        (OTHER, _other),
    ):
        gaps = [gap for gap in found if gap.kind == kind]
        if gaps:
            where = "" if len(gaps) == len(found) else f" (before {listed([gap.step for gap in gaps], 6)})"
            parts.append(sentence(gaps, where, survey))
    parts += _counted(found, survey)
    kinds = {gap.kind for gap in found}
    severity = FINDING if AGAIN in kinds else ADVISORY
    # What to look for first, where several kinds of writers show.
    variant = next((kind for kind in (START, BACK, EARLIER, OTHER) if kind in kinds), None)
    variant = None if AGAIN in kinds else BACK if variant == EARLIER else variant
    return cause("changed-between-steps", " ".join(parts), severity=severity, variant=variant)


def _counted(found, survey):
    """A sentence on the batches that PyTorch's count says the layer trained with meanwhile, as a list; or none."""
    counts = [survey.counted.around[gap.step] for gap in found if gap.step in survey.counted.around]
    if len(counts) < len(found):
        return []
    more = sorted({before - after for after, before in counts})
    if more == [0]:
        return ["`num_batches_tracked` is what it was: no run of the layer in training mode made the change."]
    if more[0] > 0:
        batches = "1 more batch" if more == [1] else f"{listed(more, 3)} more batches"
        return [f"`num_batches_tracked` counted {batches} meanwhile, with which the layer trained unrecorded."]
    back = listed([f"from {after} to {before}" for after, before in counts if before < after], 3)
    return [f"`num_batches_tracked` went back {back}: another state was loaded, or a reset ran."] if back else []


def _again(gaps, where, survey):
    counts = sorted({int(gap.count) for gap in gaps})
    times = "one more update" if counts == [1] else f"{listed(counts, 3)} more updates"
    return (
        f"They are what {times} with the batch of the step before make of them{where}, so that batch was counted more "
        f"than once: {words_of(survey).same_batch}."
    )


def _updates(gaps, where, survey):
    shares = [gap.share for gap in gaps]
    low, high = min(shares), max(shares)
    share = f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} to {high:.2g}"
    counts = [gap.count for gap in gaps if gap.count is not None]
    text = f"They moved {share} of the way to the batches of the recorded steps{where}"
    if len(counts) == len(gaps):
        low, high = round(max(1, min(counts))), round(max(1, max(counts)))
        text += f", as about {low if low == high else f'{low} to {high}'} updates of this decay by such data do"
    return (
        text + ": either only a part of the run is recorded, or something runs the layer in training mode beside it; "
        "recording every step tells."
    )


def _start(gaps, where, survey):
    return f"They were set to mean 0 and variance 1{where}, as an initializer does."


def _back(gaps, where, survey):
    return f"They were set back to what they were before the first recorded step{where}, as a restore does."


def _earlier(gaps, where, survey):
    states = listed(dict.fromkeys(f"step {gap.earlier}" for gap in gaps), 3)
    return (
        f"They were set back{where} to what they were after {states}, equal to the bit, as a restore of a "
        "checkpoint or of a copy does."
    )


def _other(gaps, where, survey):
    return (
        f"Neither the batch of the step before nor updates by data like that of the recorded steps explain the "
        f"change{where}: other data updated them, or something else wrote them, as a restore or a synchronisation does."
    )
