"""Whether a port does what the original did, in inference and in training; if not, which layer first, and why.

    result = compare_traces(trace.open("old.trace"), trace.open("new.trace"))
    print(result["ok"], [(layer["name"], layer["verdict"], layer["causes"]) for layer in result["layers"]])

NEW is diagnosed on its own data, and what OLD declares and does is what is expected of it, so that the result does not
depend on the frameworks, the layout, the dtype or, for the most part, on whether the data are the same. Where they are,
outputs and statistics are compared number by number too. Needs NumPy and the checker, no TensorFlow.

The result is a dict that goes into JSON:

    {"format": "tf1bn-parity", "kind": "traces", "ok", "old", "new", "data": {"state", "error", "sentence"},
     "only": null|"training"|"inference", "steps": [OLD's, NEW's], "notes": [sentences],
     "problems": [sentences: what keeps this from being a success],
     "layers": [{"name", "old", "new", "matched": "name"|"map"|"guess"|null, "verdict", "first": it diverges first,
                 "since": the step from which on it differs, where no check says it, or null,
                 "causes": [{"id", "severity", "explanation", "misfit"}], "undecided": [sentences], "explanation",
                 "checks": [{"what", "error", "bound", "step", "channel", "old", "new", "first"}],
                 "inherited_error", "added_error", "differences", "data", "effective": {"old", "new"}, "steps"}]}

`verdict.rejudge` recomputes every verdict from the causes and checks of such a dict, without the traces.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...diagnosis import diagnose
from ...diagnosis.engine import Spread
from ...diagnosis.observed.wording import about
from ...evidence.read_ahead import mask_epsilon_of
from ...results import Result
from ...trace.views import StepView, TraceView
from ..layer_pairs import layer_signatures, match_layers
from ..verdict import FORMAT, rejudge
from . import run_level
from .layer import MatchedLayer, layer_result
from .measured import measured, rule_of
from .pair import LayerComparison
from .same_data import compare_inputs, has_axis, micro_batches

if TYPE_CHECKING:
    from ...trace.views import StepLike, TraceLike

__all__ = ["compare_traces"]


def compare_traces(
    old: TraceLike,
    new: TraceLike,
    mapping: Mapping[str, str | None] | None = None,
    *,
    layers: Callable[[str], bool] | None = None,
    only: str | None = None,
    progress: Callable[[StepLike], object] | None = None,
    curves: Any = None,
    spread: Spread | None = None,
) -> Result:
    """Compare two runs, layer by layer.

    Args:
      old, new: `trace.Trace` of the original and of the port; or objects with `layers` and, if need be, `path`, that
        can be iterated over several times and give steps like those of `trace.Trace`.
      mapping: None, or which layer is which: see `layer_pairs.match_layers`.
      layers: None, or a function that says whether an old layer's name is wanted.
      only: "training": whether the outputs agree may stay open; "inference": whether training agrees may; None: both
        must be comparable, or the verdict is undecidable.
      progress: None, or called with each step that is read.
      curves: None, or a `reports.curves.Curves` that is to keep NEW's training steps, by NEW's names and OLD's rules.
      spread: None, or a `cluster.Workers`, in whose processes the layers are compared, as for `diagnosis.diagnose`.

    Returns:
      `Result`, a dict, see above.

    Raises:
      MappingError: the map cannot be used.
      ValueError: `only` is none of the three.
      TraceError: a trace is damaged.
      ClusterError: the workers could not do it.
    """
    if only not in (None, "training", "inference"):
        raise ValueError(f'`only` is {only!r}; it must be "training", "inference" or None.')
    old_signatures, new_signatures = layer_signatures(old), layer_signatures(new)
    matching = match_layers(old_signatures, new_signatures, mapping)
    wanted = layers or (lambda name: True)
    pairs = [pair for pair in matching.pairs if wanted(pair.old)]
    axes = _axes_by_data(old, new, pairs)
    old_diagnoses = _diagnose(old, [pair.old for pair in pairs], {}, progress, spread=spread)
    rules = {pair: rule_of(old.layers[pair.old], measured(old_diagnoses[pair.old])) for pair in pairs}
    # NEW is diagnosed as if it were declared to do what OLD does.
    expected = {pair.new: _expected_settings(rules[pair], old.layers[pair.old], axes.get(pair)) for pair in pairs}
    by_step = {pair.new: pair.old for pair in pairs if rules[pair].decay is None and not rules[pair].decay_measured}
    new_diagnoses = _diagnose(new, expected, expected, progress, curves, spread, decays=(old, by_step))
    seen = TraceView(new, settings={pair.new: {"axis": axis} for pair, axis in axes.items()}) if axes else new
    comparisons, lengths, problems = _compare_steps(old, seen, rules, progress, spread)
    parts = micro_batches(old, new, pairs)
    run_level.note_shift(list(comparisons.values()), parts)
    in_sequence = run_level.in_sequence(old_signatures, new_signatures, matching.pairs)
    results = [
        layer_result(
            MatchedLayer.of(
                pair,
                (old.layers[pair.old], new.layers[pair.new]),
                (old_diagnoses[pair.old], new_diagnoses[pair.new]),
                rules[pair],
                comparisons[pair],
                in_sequence=in_sequence,
                only=only,
            )
        )
        for pair in pairs
    ]
    complete = len(pairs) == len(old_signatures) == len(new_signatures)
    results, data, data_problems, notes = _across_layers(
        results, list(comparisons.values()), old_signatures, new_signatures, complete
    )
    if parts > 1:
        results, data = run_level.with_micro_batches(results, [rules[pair] for pair in pairs], parts)
        data_problems, problems, notes = [data["sentence"]], [], []
    results += [run_level.unmatched(name, None) for name in matching.only_old if wanted(name)]
    results += [run_level.unmatched(None, name) for name in matching.only_new if wanted(name)]
    return rejudge(
        {
            "format": FORMAT,
            "kind": "traces",
            "tf1bn": __version__,
            "ok": False,
            "old": getattr(old, "path", "OLD"),
            "new": getattr(new, "path", "NEW"),
            "about": {"old": about(old), "new": about(new)},
            "data": data,
            "steps": list(lengths),
            "problems": [*data_problems, *problems],
            "notes": [f"OLD's layer {name!r} is left out, as the map says." for name in matching.ignored] + notes,
            "only": only,
            "layers": results,
        }
    )


def _diagnose(trace, names, settings, progress, curves=None, spread=None, decays=(None, {})):
    """The `Diagnosis` of some layers by name, under other settings; ``decays`` is what `_WithDecays` takes."""
    view = TraceView(trace, layers=names, settings=settings)
    if decays[1]:
        view = _WithDecays(view, *decays)
    return {diagnosis.name: diagnosis for diagnosis in diagnose(view, progress=progress, curves=curves, spread=spread)}


class _WithDecays:
    """A `TraceView` of NEW in which some layers have the decays that layers of OLD have in the same steps.

    Args:
      view: the `TraceView`.
      old: OLD; names: dict from layers of NEW to those of OLD.
    """

    def __init__(self, view, old, names):
        self._view, self._old, self._names = view, old, names
        self.layers = view.layers
        self.framework, self.framework_version = view.framework, view.framework_version

    def __reduce__(self):
        return _WithDecays, (self._view, self._old, self._names)

    def __iter__(self):
        for step, old_step in zip(self._view, itertools.chain(self._old, itertools.repeat(None)), strict=False):
            replaced = {name: self._decays(name, record, old_step) for name, record in step.layers.items()}
            yield StepView(step, replaced, step.left_out)

    def _decays(self, name, record, old_step):
        old = None if old_step is None else old_step.layers.get(self._names.get(name))
        if old is None or (old.decays is not None and old.applications != record.applications):
            return {}
        return {"decay": old.decay, "decays": old.decays}


def _axes_by_data(old, new, pairs):
    """NEW's channel axis by pair, where the data of the first steps show that it is not the declared one."""
    open_pairs, axes = {pair.old: pair for pair in pairs}, {}
    for old_step, new_step in zip(old, new, strict=False):
        for name, pair in list(open_pairs.items()):
            if name not in old_step.layers or pair.new not in new_step.layers:
                continue
            del open_pairs[name]
            axis = _axis_by_data(old_step.layers[name], new_step.layers[pair.new])
            if axis is not None:
                axes[pair] = axis
        if not open_pairs:
            break
    return axes


def _axis_by_data(old, new):
    """The axis on which the inputs of a record of NEW are those of OLD's; None if the declared one is as good."""
    if compare_inputs(old, new).state != "different" or old.inputs is None or new.inputs is None:
        return None
    rank, declared = new.inputs[0].ndim, new.layer.channel_axis
    usual = declared % rank if has_axis(new.inputs[0], declared) else None
    others = (axis for axis in range(rank) if axis != usual)
    return next((axis for axis in others if compare_inputs(old, new, axis).state != "different"), None)


def _expected_settings(rule, old, axis):
    """What NEW's layer would declare if it did what OLD's `LayerRule` and `trace.Layer` say."""
    settings = {
        "decay": rule.decay,
        "epsilon": old.epsilon,
        "fused": rule.bessel,
        "zero_debias": old.zero_debias,
        "renorm": old.renorm,
        "rate_dtype": None,
    }
    return settings if axis is None else {**settings, "axis": axis}


def _compare_steps(old, new, rules, progress, spread):
    """Reads both traces side by side.

    Returns:
      comparisons: dict from each pair to its `LayerComparison`.
      lengths: how many steps OLD and NEW have.
      problems: sentences on what kept some steps from being compared.
    """
    compare = functools.partial(_compare_pairs, old, new, rules, progress)
    compared = compare(list(rules)) if spread is None else spread(compare, list(rules))
    lengths = compared.pop(_LENGTHS)
    # In the order of the steps, and in a step of the pairs.
    absent = sorted((compared[pair][1] for pair in rules if compared[pair][1] is not None), key=lambda lack: lack[2])
    problems = [
        f"{run}'s layer {name!r} is missing in step {step}, where the other run has it." for run, name, step in absent
    ]
    if lengths[0] != lengths[1]:
        problems.append(
            f"OLD has {lengths[0]} steps and NEW has {lengths[1]}; the first {min(lengths)} of both were compared."
        )
    return {pair: compared[pair][0] for pair in rules}, lengths, problems


_LENGTHS = "steps of OLD and NEW"


def _compare_pairs(old, new, rules, progress, pairs):
    """Dict from some pairs to `LayerComparison` and where a run lacks the layer, and from `_LENGTHS` to the lengths."""
    mask_epsilons = tuple(map(mask_epsilon_of, (old, new)))
    comparisons = {pair: LayerComparison(rules[pair], mask_epsilons) for pair in pairs}
    absent = {}
    lengths = [0, 0]
    for old_step, new_step in itertools.zip_longest(old, new):
        lengths[0] += old_step is not None
        lengths[1] += new_step is not None
        if old_step is None or new_step is None:
            continue
        for pair, comparison in comparisons.items():
            old_record, new_record = old_step.layers.get(pair.old), new_step.layers.get(pair.new)
            if old_record is not None and new_record is not None:
                comparison.add(old_step.number, old_record, new_record)
            elif old_record is not None or new_record is not None:
                lacks = ("NEW", pair.new) if new_record is None else ("OLD", pair.old)
                absent.setdefault(pair, (*lacks, old_step.number))
        if progress is not None:
            progress(old_step)
    return {_LENGTHS: lengths, **{pair: (comparisons[pair], absent.get(pair)) for pair in pairs}}


def _across_layers(results, comparisons, old_signatures, new_signatures, complete):
    """What all layers together show.

    Args:
      results, comparisons: the results and the `LayerComparison` of the pairs.
      old_signatures, new_signatures: the `LayerSignature` of all layers.
      complete: whether all layers of both runs are among the results.

    Returns:
      results: with further causes.
      data, problems, notes: see `run_level.same_run`.
    """
    by_name = ({layer.name: layer for layer in signatures} for signatures in (old_signatures, new_signatures))
    results = run_level.with_swapped_inputs(results, comparisons, *by_name)
    if complete:
        results = run_level.with_other_inputs(results, comparisons)
    results = run_level.with_exchanged_parameters(results, comparisons)
    return results, *run_level.same_run(results, comparisons)
