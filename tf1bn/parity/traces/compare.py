"""Whether a port does what the original did, in inference and in training; if not, which layer first, and why.

    found = compare_traces(trace.open("old.trace"), trace.open("new.trace"))
    print(found["ok"], [(layer["name"], layer["verdict"], layer["causes"]) for layer in found["layers"]])

NEW is diagnosed with what OLD declares and does as what is expected, on NEW's own data, so that the result does not
depend on the frameworks, the layout, the dtype or, for the most part, on whether the data are the same. Where they are,
outputs and statistics are compared number by number too. Needs NumPy and the checker, no TensorFlow.

The result is a dict that goes into JSON:

    {"format": "tf1bn-parity", "kind": "traces", "ok", "old", "new", "data": {"state", "error", "sentence"},
     "only": null|"training"|"inference", "steps": [OLD's, NEW's], "notes": [sentences],
     "problems": [sentences: what keeps this from being a success],
     "layers": [{"name", "old", "new", "matched": "name"|"map"|"guess"|null, "verdict", "first": it diverges first,
                 "since": the step from which on it is otherwise, where no check says it, or null,
                 "causes": [{"id", "severity", "explanation", "misfit"}], "undecided": [sentences], "explanation",
                 "checks": [{"what", "error", "bound", "step", "channel", "old", "new", "first"}],
                 "inherited_error", "added_error", "differences", "data", "effective": {"old", "new"}, "steps"}]}

`rejudge` recomputes every verdict from the causes and checks of such a dict, without the traces.
"""

import dataclasses

from ... import __version__
from ...diagnosis.engine import diagnose
from ...evidence.estimators import likely_decays
from ...verdicts import OK
from ..matching import faces, match
from ..verdict import FORMAT, checked, rejudge
from . import run_level as parityplaces
from .layer import LayerParity
from .pair import Pair
from .same_data import same_data

__all__ = ["checked", "compare_traces", "rejudge"]


def compare_traces(old, new, mapping=None, *, layers=None, only=None, progress=None, curves=None):
    """Compare two runs, layer by layer.

    Args:
      old, new: `trace.Trace` of the original and of the port; or objects with `layers` and, if need be, `path`, that
        can be iterated over several times and give steps like those of `trace.Trace`.
      mapping: None, or which layer is which: see `matching.match`.
      layers: None, or a function that says whether an old layer's name is wanted.
      only: "training" where nothing is to be said about outputs, "inference" where nothing is about training; None:
        both must be comparable, or it is undecidable.
      progress: None, or called with each step that is read.
      curves: None, or a `curves.Curves` that is to keep NEW's training steps, by NEW's names and OLD's rules.

    Returns:
      dict, see above.

    Raises:
      MappingError: the map cannot be used.
      ValueError: `only` is none of the three.
      TraceError: a trace is damaged.
    """
    if only not in (None, "training", "inference"):
        raise ValueError(f'`only` is {only!r}; it must be "training", "inference" or None.')
    old_faces, new_faces = faces(old), faces(new)
    matching = match(old_faces, new_faces, mapping)
    wanted = layers or (lambda name: True)
    pairs = [pair for pair in matching.pairs if wanted(pair.old)]
    axes = _axes(old, new, pairs)
    old_results = {one.name: one for one in diagnose(_Part(old, {pair.old: {} for pair in pairs}), progress=progress)}
    laws = {pair.old: _law(old.layers[pair.old], old_results[pair.old]) for pair in pairs}
    expected = {
        pair.new: _expected(laws[pair.old], old.layers[pair.old], new.layers[pair.new], axes.get(pair))
        for pair in pairs
    }
    # NEW is judged as if it were declared to do what OLD does.
    new_results = {one.name: one for one in diagnose(_Part(new, expected), progress=progress, curves=curves)}
    numbers, lengths, problems = _numbers(old, new, pairs, laws, axes, progress)
    judged = []
    in_sequence = parityplaces.in_sequence(old_faces, new_faces, matching.pairs)
    by_face = {face.name: face for face in old_faces}
    for pair in pairs:
        sides = old_results[pair.old], new_results[pair.new]
        declared = old.layers[pair.old], new.layers[pair.new]
        one = LayerParity(pair, declared, sides, laws[pair.old], numbers[pair], axes.get(pair), in_sequence, only)
        judged.append(one.result())
    complete = len(pairs) == len(old_faces) == len(new_faces) > 0
    compared = [numbers[pair] for pair in pairs]
    parityplaces.placed(judged, compared, by_face, {face.name: face for face in new_faces}, complete)
    parityplaces.exchanged(judged, compared)
    notes = [f"OLD's layer {name!r} is left out, as the map says." for name in matching.ignored]
    data = parityplaces.same_run(judged, compared, problems, notes)
    judged += [parityplaces.unmatched(name, None) for name in matching.only_old if wanted(name)]
    judged += [parityplaces.unmatched(None, name) for name in matching.only_new if wanted(name)]
    if lengths[0] != lengths[1]:
        problems.append(
            f"OLD has {lengths[0]} steps and NEW has {lengths[1]}; the first {min(lengths)} of both were compared."
        )
    return rejudge(
        {
            "format": FORMAT,
            "kind": "traces",
            "tf1bn": __version__,
            "ok": False,
            "old": getattr(old, "path", "OLD"),
            "new": getattr(new, "path", "NEW"),
            "data": data,
            "steps": list(lengths),
            "problems": problems,
            "notes": notes,
            "only": only,
            "layers": judged,
        }
    )


class _Part:
    """A trace of which only some layers are looked at, with changed settings and decays."""

    def __init__(self, opened, changes):
        self._opened, self._changes = opened, changes
        self.layers = {name: dataclasses.replace(opened.layers[name], **change) for name, change in changes.items()}

    def __iter__(self):
        for step in self._opened:
            records = {}
            for name, record in step.layers.items():
                if name in self.layers:
                    decay = self._changes[name].get("decay", record.decay)
                    records[name] = _Record(record, layer=self.layers[name], decay=decay)
            yield _Step(step, records)


class _Step:
    def __init__(self, step, layers):
        self.number, self.training, self.layers = step.number, step.training, layers


class _Record:
    """A record of which something is otherwise."""

    def __init__(self, record, **changes):
        self._record = record
        self.__dict__.update(changes)

    def __getattr__(self, name):
        return getattr(self._record, name)


def changed(step, **changes):
    """A trace's step whose records have these attributes."""
    return _Step(step, {name: _Record(record, **changes) for name, record in step.layers.items()})


def _axes(old, new, pairs):
    """NEW's channel axis, by pair, as the data of the first steps show it where it is not the declared one."""
    rest, found = {pair.old: pair for pair in pairs}, {}
    for one, other in zip(old, new, strict=False):
        for name in list(rest):
            pair = rest[name]
            if name not in one.layers or pair.new not in other.layers:
                continue
            was, now = one.layers[name], other.layers[pair.new]
            del rest[name]
            if same_data(was, now)[0] != "different" or was.inputs is None or now.inputs is None:
                continue
            for axis in range(now.inputs[0].ndim):
                if axis != now.layer.channel_axis % now.inputs[0].ndim and same_data(was, now, axis)[0] != "different":
                    found[pair] = axis
                    break
        if not rest:
            break
    return found


def _law(layer, result):
    """What OLD does: decay, variance convention, epsilon, and whether its statistics follow from them."""
    survey = result.survey
    law = {"decay": layer.decay, "bessel": layer.fused, "epsilon": layer.epsilon, "lawful": False}
    if survey is None:
        return law
    if layer.fused is None:
        law["bessel"] = survey.shown_convention
    if not survey.declared.decay_known:
        law["decay"] = next(iter(likely_decays(survey.estimates.rate.estimate())), None)
        law["estimated"] = True
    law["lawful"] = (
        survey.best.verdict == OK and law["bessel"] is not None and survey.declared.applications == 1
        and not layer.renorm and not layer.zero_debias and layer.dtype in ("float16", "float32", "float64")
        and survey.declared.decay_known
    )  # fmt: skip
    return law


def _expected(law, old, new, axis):
    """How NEW's layer would be declared if it did what OLD does."""
    change = {
        "decay": law["decay"],
        "epsilon": old.epsilon,
        "fused": law["bessel"],
        "zero_debias": old.zero_debias,
        "renorm": old.renorm,
        "rate_dtype": None,
    }
    if axis is not None:
        change["axis"] = axis
    return change


def _numbers(old, new, pairs, laws, axes, progress):
    """A `Pair` for every match, how many steps each side has, and what kept some from being compared."""
    numbers = {pair: Pair(old.layers[pair.old], new.layers[pair.new], laws[pair.old]) for pair in pairs}
    problems, absent = [], {}
    steps, others = iter(old), iter(new)
    lengths = [0, 0]
    while True:
        one, other = next(steps, None), next(others, None)
        lengths[0] += one is not None
        lengths[1] += other is not None
        if one is None and other is None:
            break
        if one is None or other is None:
            continue
        for pair, number in numbers.items():
            was, now = one.layers.get(pair.old), other.layers.get(pair.new)
            if was is not None and now is not None:
                number.add(one.number, was, now, axes.get(pair))
            elif was is not None or now is not None:
                absent.setdefault(pair, (one.number, "NEW" if now is None else "OLD"))
        if progress is not None:
            progress(one)
    for pair, (step, side) in absent.items():
        name = pair.new if side == "NEW" else pair.old
        problems.append(f"{side} does not hold its layer {name!r} in step {step}, where the other run does.")
    return numbers, lengths, problems
