"""The audit of all ranks of a training. Reached through `tf1bn.ranks`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from .._util.text import counted, listed
from ..diagnosis import diagnose, divergence
from ..diagnosis.conclude import Diagnoses, audit_result
from ..diagnosis.engine import Spread
from ..results import Result
from ..trace.views import TraceView
from .agreement import compare_ranks
from .joined import Joined
from .opening import missing, open_ranks

SHOWN = 3  # layers whose ranks' statistics are told in the notes


def audit_ranks(
    paths: Iterable[str],
    *,
    layers: Callable[[Iterable[str]], list[str]] = list,
    spread: Spread | None = None,
) -> Result:
    """Judge the traces that the processes of one training wrote, one each.

    A layer has an entry for the first rank, and "NAME (rank 2)" for each rank with other statistics than that: judged
    by the batches of all ranks where these share the layer's statistics, else by the rank's own.

    Args:
      paths: the folders of the traces.
      layers: from the names of all layers to those that are wanted.
      spread: as for `diagnosis.diagnose`.

    Returns:
      what the JSON of an audit holds.

    Raises:
      TraceError: a trace is damaged, or they are not of one training.
      ValueError: there are fewer than two.
    """
    traces, names = open_ranks(paths)
    wanted = layers(traces[0].layers)
    ranks, steps = compare_ranks(traces, names)
    lacking = missing(traces)

    def judged(i, chosen):
        """The diagnoses of some layers of a rank; the traces of the others are read only if it shares one of these."""
        if lacking:
            # Without the batches of all ranks what they share cannot be judged, which the trace of one says itself.
            view = TraceView(traces[i], layers=chosen)
        elif any(ranks[name].shared for name in chosen):
            view = TraceView(Joined(traces, own=i), layers=chosen)
        else:
            view = TraceView(traces[i], layers=chosen, steps=steps)
        return diagnose(view, spread=spread)

    diagnoses = judged(0, wanted)
    for i, rank in enumerate(names):
        if differing := [name for name in wanted if i in ranks[name].differing]:
            of_rank = judged(i, differing)
            diagnoses += [dataclasses.replace(each, name=f"{each.name} (rank {rank})") for each in of_rank]
    result = audit_result(Diagnoses(divergence.mark_first(diagnoses), diagnoses.about))
    problems = list(filter(None, [lacking, None if steps else "The ranks' traces have no step in common."]))
    result["notes"] = [*result["notes"], *([] if lacking else _unchecked(traces, names, steps)), *_notes(ranks, wanted)]
    return Result({**result, "ok": result["ok"] and not problems, "problems": problems})


def _unchecked(traces, names, steps):
    """A sentence on the steps that some ranks hold and others do not."""
    held, common = [trace.count_steps() for trace in traces], len(steps)
    if 0 < common < max(held):
        rank = names[held.index(max(held))]
        yield f"Of the {max(held)} steps of rank {rank}, only the {common} that all ranks hold were checked."


def _notes(ranks, wanted):
    """Sentences on the layers whose statistics are not the same in all ranks."""
    for shared, beginning in (
        (True, "The ranks share one update of the statistics, and these differ"),
        (False, "Each rank has statistics of its own, so that a checkpoint holds those of one rank"),
    ):
        names = [name for name in wanted if ranks[name].differing and ranks[name].shared is shared]
        if names:
            told = "; ".join(f"{name}: {listed(ranks[name].differing.values(), SHOWN)}" for name in names[:SHOWN])
            more = f"; and {counted(len(names) - SHOWN, 'layer')} more" if len(names) > SHOWN else ""
            yield f"{beginning}: {told}{more}."
