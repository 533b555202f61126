"""The passes over a trace from which its layers are diagnosed; needs NumPy and the checker, no TensorFlow.

The first pass compares every step of every layer with what the layer declares: the statistics after a step are
predicted from the observed ones before it, so errors do not add up. Only for layers that are not as declared is there a
second pass, which tries every cause, and every two of them, as predictions; a cause is named when its prediction lies
within the bound in all steps. Where none does, a third pass tries every cause in each step that is wrong.
"""

from __future__ import annotations

import contextlib
import functools
import os
import typing
from collections.abc import Callable, Iterator, Mapping

from .._util.threads import Progress, run
from ..checker.accumulation import default_threads
from ..errors import TraceError
from ..evidence.read_ahead import KeptMoments, read
from ..evidence.step_block import StepBlock
from ..evidence.step_view import COMPARABLE
from ..trace import Layer, Step, Trace
from ..verdicts import UNDECIDABLE
from . import divergence
from .conclude import Diagnoses, Diagnosis, conclude_layer
from .observed.wording import about, framework_of
from .partial import SomeSteps
from .search import Search
from .survey import Survey

if typing.TYPE_CHECKING:
    from ..evidence.step_view import StepConsumer


class TraceLike(typing.Protocol):
    """What `diagnose` needs of a trace: its layers, and its steps as often as they are asked for."""

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers by name."""

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps in order."""


class Observer(typing.Protocol):
    """What keeps the numbers of each training step, for plots."""

    def add(self, name: str, number: int, view: typing.Any, stats: typing.Any) -> None:
        """Take a layer's step that was compared: its `View`, and the `MovingStats` of the layer as declared."""


class Examined(typing.NamedTuple):
    """What the passes over a trace have shown of a layer, from which it is judged beside all others.

    Attributes:
      survey: its `Survey`; None if the checker does not compute in its dtype.
      search, some_steps: its `Search` and `SomeSteps`; None where it did not need them.
    """

    survey: Survey | None
    search: Search | None
    some_steps: SomeSteps | None


# Calls a function with lists of names that are all of a list between them, and returns the union of the dicts.
Spread = Callable[
    [Callable[[list[typing.Any]], dict[typing.Any, typing.Any]], list[typing.Any]], dict[typing.Any, typing.Any]
]


def diagnose(
    trace: str | os.PathLike[str] | TraceLike,
    *,
    progress: Callable[[Step], object] | None = None,
    curves: Observer | None = None,
    spread: Spread | None = None,
) -> Diagnoses:
    """Compare every layer of a trace with what it should do, and name the causes where it does not.

        for result in diagnose("run.trace"):
            print(result.name, result.verdict, [(cause.id, cause.explanation) for cause in result.causes])

    Args:
      trace: the folder of a trace; or a `trace.Trace`, or an object with its ``layers``, a dict of `trace.Layer`, that
        can be iterated over three times and yields steps with the attributes of `trace.Step`.
      progress: None, or called after each step with its `trace.Step`; some layers need up to three passes.
      curves: None, or a `reports.curves.Curves` that keeps what was observed and expected in each training step.
      spread: None, or a `cluster.Workers`, in whose processes the layers are then examined, with the same result; the
        trace is opened there once more. It goes with neither ``progress`` nor ``curves``, which are called here.

    Returns:
      `Diagnoses`, a list of `Diagnosis` in the order of the trace's layers, which can also be shown.

    Raises:
      TraceError: there is no trace in the folder, or the trace is damaged.
      TypeError: the trace can be iterated over only once.
      ValueError: ``spread`` is given with ``progress`` or ``curves``.
      ClusterError: the workers could not do it.
    """
    if spread is not None and (progress is not None or curves is not None):
        raise ValueError(
            "`spread` is given with `progress` or `curves`, which other processes cannot call; leave them out."
        )
    if isinstance(trace, (str, os.PathLike)):
        trace = Trace(trace)
    elif iter(trace) is trace:
        raise TypeError("`trace` can be iterated over only once; give the trace itself, or a list of its steps.")
    examine = functools.partial(_examine, trace, progress, curves)
    names = list(trace.layers)
    examined = examine(names) if spread is None else spread(examine, names)
    surveys = {name: examined[name].survey for name in names if examined[name].survey is not None}
    moved = {name for name, survey in surveys.items() if survey.progress.steps and not survey.progress.initial}
    results = []
    for name, layer in trace.layers.items():
        reason = _not_compared(layer, surveys.get(name))
        if reason is not None:
            results.append(Diagnosis(name, UNDECIDABLE, (), reason))
        else:
            others_moved = bool(moved - {name})
            results.append(conclude_layer(name, *examined[name], others_moved))
    return Diagnoses(divergence.mark_first(divergence.mark_unfit(divergence.mark_spread(results))), about(trace))


def _examine(trace, progress, curves, names) -> dict[str, Examined]:
    """What the passes over a trace show of each of some layers."""
    framework = framework_of(trace)
    surveys = {
        name: Survey(trace.layers[name], None if curves is None else functools.partial(curves.add, name), framework)
        for name in names
        if trace.layers[name].dtype in COMPARABLE
    }
    recorded = {name: survey for name, survey in surveys.items() if survey.layer.unrecordable is None}
    kept = KeptMoments()
    _feed(trace, recorded, progress, True, curves is None, kept)
    searches = {name: Search(survey) for name, survey in surveys.items() if survey.is_wrong}
    kept.drop_all_but(searches)
    if searches:
        _feed(trace, searches, progress, kept=kept)
    partly = {
        name: SomeSteps(surveys[name]) for name, search in searches.items() if SomeSteps.wanted(surveys[name], search)
    }
    if partly:
        _feed(trace, partly, progress, outputs=True, kept=kept)
    return {name: Examined(surveys.get(name), searches.get(name), partly.get(name)) for name in names}


def _not_compared(layer, survey):
    """Why a layer could not be compared at all, a sentence; None if it was."""
    if layer.unrecordable is not None:
        return f"It could not be recorded. {layer.unrecordable}"
    if survey is None:
        return f"Its statistics are {layer.dtype}, which the checker does not compute in; it was not checked."
    return None if survey.progress.steps else "No step of the trace holds it; it was not checked."


def _feed(trace: TraceLike, consumers: Mapping[str, StepConsumer], progress, outputs=False, blocks=False, kept=None):
    """Give every step of a layer to the consumer of that name; what is not said here is as in `read`."""
    together = []
    for step, name, view in read(trace, consumers.keys(), outputs, blocks, kept):
        if isinstance(view, StepBlock):
            together.append((step.number, name, view))
            continue
        # Blocks come before what comes after them.
        _feed_blocks(together, consumers)
        together.clear()
        if view is not None:
            with _errors_of_step(step.number, name):
                consumers[name].add(step.number, view)
        elif progress is not None:
            progress(step)
    _feed_blocks(together, consumers)


def _feed_blocks(blocks, consumers):
    """Give blocks, as (number of the first step, name of the layer, `StepBlock`), to the consumers, in threads."""

    def job(number, name, block):
        with _errors_of_step(number, name):
            consumers[name].add_block(block)
        yield len(block)

    if blocks:
        threads = default_threads(sum(block.nbytes for *_, block in blocks), few=1)
        run([job(*each) for each in blocks], threads, Progress(None, 0))


@contextlib.contextmanager
def _errors_of_step(number, name):
    """Raise what the checker refuses, such as negative weights, as damage of the trace."""
    try:
        yield
    except TraceError:
        raise
    except ValueError as error:
        raise TraceError(f"step {number}, layer {name!r}: {error}") from error
