"""The audit of a graph: the dict that its JSON holds."""

from ..._util.text import counted, listed, quoted
from ...graphdef.file_scan import scope_of
from ...graphdef.files.attributes import array
from ...graphdef.files.operations import size_of
from ...graphdef.scan import UNSEEN_FLAG
from ...graphdef.training import A_CALL
from ...verdicts import FINDING, OK, UNDECIDABLE
from . import mode_rules, setting_rules, update_rules
from .entries import audit_entry, audit_result, beside
from .facts import GraphFacts, is_unseen

# What passes a value on as it is, and so many operations that take one are looked at.
_PASSED, _FURTHEST = ("Identity", "Cast", "StopGradient", "Switch", "Merge", "PlaceholderWithDefault"), 256


def audit_source(source, train_op=None):
    """The audit of a `files.sources.Source`, see `graphs.audit`."""
    facts = GraphFacts(source, train_op)
    siblings = setting_rules.siblings(facts.layers)
    layers = [_judged(layer, facts, siblings.get(layer.name, [])) for layer in facts.layers]
    layers += [_bare(pattern, mode_rules.bare(pattern, facts)) for pattern in facts.scan.bare]
    problems = []
    if not layers and not facts.scan.folded:
        problems.append("The graph has no batch norm that is found by its operations, so nothing was judged.")
    elif not layers:
        problems.append(
            f"The graph has no batch norm any more: {_folded(facts.scan.folded)} Compare it with its checkpoint by "
            "`tf1bn parity` to see whether that was done rightly."
        )
    return audit_result(layers, problems, [*_notes(facts, layers), *source.notes], _about(facts))


def _about(facts):
    """What is said of the graph as a whole."""
    return {
        "form": facts.source.kind,
        "tensorflow": facts.source.version or None,
        "operations": len(facts.source.graph.get_operations()),
        "trains": facts.training.trains,
        "train_ops": list(facts.training.targets) if facts.training.trains else [],
        "signatures": [name for name, *_ in facts.signatures],
        "folded": facts.scan.folded,
    }


def _judged(layer, facts, siblings):
    """The dict of a layer."""
    causes, doubts = [], []
    if layer.applications:
        causes, doubts = update_rules.updates(layer, facts)
        causes = [*causes, *mode_rules.modes(layer, facts), *setting_rules.settings(layer, facts)]
        causes += beside(causes, siblings)
    if layer.closed:
        where = quoted(sorted({op.name for one in layer.closed for op in one.touched}))
        doubts.append(f"{where} calls a function with its statistics that cannot be opened, as one that calls itself.")
    doubts += [f"In `{one.outputs.op.name}` {UNSEEN_FLAG}." for one in layer.applications if is_unseen(one)]
    unsure = bool(doubts) or any(cause["doubt"] for cause in causes)
    certain = any(cause["severity"] == FINDING and not cause["doubt"] for cause in causes)
    verdict = FINDING if certain else UNDECIDABLE if unsure else OK
    causes.sort(key=lambda cause: (cause["severity"] != FINDING, cause["doubt"]))
    structure = _structure(layer, facts)
    return audit_entry(layer.name, verdict, causes, doubts, structure, _in_words(structure))


def _structure(layer, facts):
    """How a layer is built, for the JSON."""
    kind, value, name = layer.decay
    updates = {
        role: [{"operation": one.op.name, "train_ops": facts.training.reaching(one.op)} for one in ops]
        for role, ops in layer.updates.items()
    }
    first = layer.applications[0] if layer.applications else None
    return {
        "form": layer.form,
        "made_by": layer.maker,
        "frozen": layer.mean is not None and layer.mean.type == "Const",
        "axis": _axis(first),
        "data_format": layer.data_format,
        "epsilon": layer.epsilon,
        "decay": {"kind": kind, "value": value, "name": name},
        "statistics": {
            "mean": layer.mean.name if layer.mean is not None else None,
            "variance": layer.variance.name if layer.variance is not None else None,
        },
        "parameters": layer.parameters,
        "channels": _channels(layer.mean),
        "center": first.settings["center"] if first else None,
        "scale": first.settings["scale"] if first else None,
        "around": {"before": _before(first), "after": _after(first)},
        "applications": [
            {"output": one.outputs.name, "is_training": {"kind": flag[0], "name": flag[1], "value": flag[2]}}
            for one, flag in zip(layer.applications, layer.flags, strict=True)
        ],
        "updates": updates if facts.training.trains else {role: [] for role in updates},
    }


def _channels(statistic):
    """The number of channels of the operation of a statistic, or None."""
    if statistic is None:
        return None
    if statistic.type == "Const":
        value = array(statistic.get_attr("value"))
        return None if value is None else int(value.size)
    return size_of(statistic.shape(0).sizes)


def _before(application):
    """The type of the operation that makes the input of an application, or None."""
    op = application.inputs.op if application is not None and application.inputs is not None else None
    while op is not None and op.type in _PASSED and op.inputs:
        op = op.inputs[0].op
    return None if op is None else op.type


def _after(application):
    """The types of the operations that take the output of an application, but for gradients; sorted."""
    if application is None or application.outputs is None:
        return []
    found, waiting, seen = set(), [application.outputs], set()
    while waiting and len(seen) < _FURTHEST:
        for op in waiting.pop().consumers():
            if op.name in seen or "grad" in op.type.lower() or op.name.startswith(("gradients", "gradient_tape")):
                continue
            seen.add(op.name)
            if op.type in _PASSED:
                waiting.append(op.outputs[0])
            else:
                found.add(op.type)
    return sorted(found)


def _axis(application):
    """The axis of the channels counted from 0, or None if it is not known or there are several."""
    if application is None or application.inputs is None or application.channels is not None:
        return None
    if application.settings["axis"] is not None:
        return application.settings["axis"]
    if application.settings["data_format"] == "NCHW":
        return 1
    rank = application.inputs.get_shape().ndims
    return rank - 1 if rank and not application.problem else 3 if application.patterns[0].data_format else None


def _in_words(structure):
    """The structure of a layer as part of a sentence."""
    parts = [structure["form"]] if structure["form"] else []
    if structure["made_by"]:
        parts.append(f"as {structure['made_by']} writes it")
    if structure["epsilon"] is not None:
        parts.append(f"epsilon {structure['epsilon']:.6g}")
    decay = structure["decay"]
    if decay["value"] is not None:
        parts.append(f"decay {decay['value']:.6g}")
    elif decay["name"]:
        parts.append(f"decay by the {decay['kind']} `{decay['name']}`")
    count = len(structure["applications"])
    if count > 1:
        parts.append(f"{count} applications")
    modes = sorted({_mode(one["is_training"]) for one in structure["applications"]})
    parts.append(f"is_training {' and '.join(modes)}")
    return ", ".join(parts)


def _mode(flag):
    if flag["kind"] == "constant":
        return str(flag["value"])
    return f"by the {flag['kind']} `{flag['name']}`"


def _bare(pattern, cause):
    """The dict of a layer without moving statistics."""
    structure = {
        "form": f"the fused operation {pattern.op.type}" if pattern.fused else "composed operations",
        "made_by": None,
        "frozen": False,
        "axis": None,
        "data_format": pattern.data_format.decode("ascii", "replace") if pattern.fused else None,
        "epsilon": pattern.epsilon,
        "decay": {"kind": "unknown", "value": None, "name": None},
        "statistics": {"mean": None, "variance": None},
        "parameters": [],
        "applications": [{"output": pattern.y.name, "is_training": {"kind": "constant", "name": None, "value": True}}],
        "updates": {"mean": [], "variance": []},
    }
    verdict = UNDECIDABLE if cause["doubt"] else FINDING
    return audit_entry(scope_of(pattern.op.name), verdict, [cause], [], structure, _in_words(structure))


def _folded(names):
    verb = "was" if len(names) == 1 else "were"
    return (
        f"{counted(len(names), 'batch norm')} ({quoted(names)}) {verb} folded into a multiplication and an addition by "
        "constants."
    )


def _notes(facts, layers):
    source, training = facts.source, facts.training
    made = f", made by TensorFlow {source.version}" if source.version else ""
    count = len(source.graph.get_operations())
    text = f"The graph has {counted(count, 'operation')}{made}, and {counted(len(layers), 'batch norm')}."
    notes = [text]
    if training.trains:
        ends = listed([name if name == A_CALL else f"`{name}`" for name in training.targets], 4)
        named = "as it was said" if training.given else "as its operations show"
        notes.append(f"What trains it, {named}: {ends}.")
    else:
        notes.append("It has no optimizer, so whether updates run was not asked.")
    if facts.scan.folded and layers:
        notes.append(_folded(facts.scan.folded))
    return notes
