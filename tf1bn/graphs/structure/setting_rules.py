"""Causes in the settings of layers: in what applications of one differ, and one from its siblings."""

import collections
import math

from ..._util.text import listed, quoted
from ...graphdef.view import PASSES, SWITCHES
from ...verdicts import ADVISORY
from .entries import entry
from .layers import epsilons_differ

# At the end of a schedule the start values should weigh less than this.
_LARGEST_WEIGHT = 0.05
# Operations that keep the layout of their first input.
_KEEP_LAYOUT = (
    *("Identity", "Relu", "Relu6", "Elu", "LeakyRelu", "BiasAdd", "Pad", "Dropout", "Selu", "Tanh", "Sigmoid"),
    *("Switch", "Merge", "StopGradient", "Cast", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
)
_WITH_LAYOUT = ("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MaxPool", "AvgPool", "BiasAdd")
_FURTHEST = 32
# At least so many layers have the usual setting where one differs.
_LEAST_USUAL = 3


def settings(layer, facts):
    """The causes in what one layer's applications are built with."""
    causes = [*_shared(layer), *_decay(layer, facts), *_layout(layer), *_swapped(layer, facts)]
    return causes + _not_saved(layer, facts)


def _shared(layer):
    epsilons = [(pattern.epsilon, pattern.y.name) for one in layer.applications for pattern in one.patterns]
    for epsilon, name in epsilons[1:]:
        if epsilons_differ(epsilons[0][0], epsilon):
            yield entry(
                "epsilon",
                f"Its applications share the statistics and not epsilon: it is {epsilons[0][0]:.6g} in "
                f"`{epsilons[0][1]}` and {epsilon:.6g} in `{name}`.",
            )
            break
    training = [one for one in layer.applications if one.trains or one.flag is not None]
    decays = sorted({one.settings["decay"] for one in training if one.settings["decay"] is not None})
    if len(decays) > 1:
        yield entry(
            "decay",
            f"Its applications in training share the statistics and not the decay: "
            f"{listed([f'{decay:.6g}' for decay in decays], 5)}.",
        )
    axes = {(one.settings["data_format"], one.settings["axis"]) for one in layer.applications if not one.problem}
    if len(axes) > 1:
        yield entry(
            "wrong-axis",
            f"Its applications share the statistics and not the axis of the channels: "
            f"{listed(sorted(name if axis is None else f'axis {axis}' for name, axis in axes), 3)}.",
        )


def _decay(layer, facts):
    kind, decay, _ = layer.decay
    if kind != "constant" or not facts.training.trains or not layer.trained_by(facts.training) or layer.never_trains:
        return
    if decay == 1:
        yield entry("frozen", "The decay is the constant 1: updates run, and leave the statistics as they are.")
    elif decay == 0:
        yield entry("no-memory", "The decay is 0: the statistics are those of the last batch.", ADVISORY)
    elif facts.horizon is not None and 0 < decay < 1:
        steps, operation = facts.horizon
        weight = decay**steps
        if weight > _LARGEST_WEIGHT:
            needed = math.ceil(math.log(0.01) / math.log(decay))
            yield entry(
                "cold-start",
                f"At decay {decay:.6g} the start values still weigh {weight:.2g} after the {steps} steps at which "
                f"`{operation}`, a schedule of the global step, ends; below 1 % they are after {needed}.",
                ADVISORY,
            )


def _layout(layer):
    for one in layer.applications:
        pattern = one.patterns[0]
        if one.inputs is None or one.problem:
            continue
        if pattern.fused:
            own = one.settings["data_format"]
        else:
            axis, rank = one.settings["axis"], one.inputs.get_shape().ndims
            own = one.settings["data_format"] if axis is None and rank == 4 else None
        before = _layout_before(pattern.x)
        if own and before and own != before[0]:
            yield entry(
                "wrong-axis",
                f"`{one.outputs.op.name}` takes the channels as {own} has them, and its input comes from "
                f"`{before[1]}`, which is {before[0]}: the statistics are those of another axis.",
            )
            return


def _layout_before(tensor):
    """The layout that the operations before a tensor have, and the name of the nearest that says so; or None."""
    op = tensor.op
    for _ in range(_FURTHEST):
        if op.type in _WITH_LAYOUT and "data_format" in op.attributes:
            layout = op.get_attr("data_format")
            if layout in (b"NHWC", b"NCHW"):
                return layout.decode(), op.name
        if op.type in ("Conv2D", "DepthwiseConv2dNative"):
            return "NHWC", op.name
        if op.type not in _KEEP_LAYOUT or not op.inputs:
            return None
        op = op.inputs[0].op
    return None


def _swapped(layer, facts):
    pattern = layer.applications[0].patterns[0]
    gamma, beta = (facts.variable(tensor) for tensor in (pattern.gamma, pattern.beta))
    words = [None if op is None else op.name.rpartition("/")[2] for op in (gamma, beta)]
    if words == ["beta", "gamma"]:
        yield entry("gamma-beta-swapped", f"The layer scales by `{gamma.name}` and shifts by `{beta.name}`.")


def _not_saved(layer, facts):
    """The cause that no Saver of the graph saves the statistics."""
    statistics = [op for op in (layer.mean, layer.variance) if op is not None and op.type != "Const"]
    missing = [op.name for op in statistics if op.name not in facts.saved]
    if facts.source.kind == "a SavedModel":
        # What one saves are its objects, which need not be the variables that its functions take.
        return []
    # A Saver of another part of the network says nothing about this one.
    own = [name for name in layer.parameters if name in facts.saved]
    if not missing or not own:
        return []
    return [
        entry(
            "not-restored",
            f"The Saver {quoted(facts.savers)} saves {quoted(own)} of the layer and not {quoted(missing)}, as "
            "Saver(trainable_variables()) does: a checkpoint will not have the statistics, and what is restored from "
            "it keeps the start values 0 and 1.",
        )
    ]


def siblings(layers, read=None):
    """What single layers have otherwise than most of their siblings: a dict from names of layers to lists of causes.

    Args:
      layers: a list of `facts.LayerFacts`, or of others with a ``name`` and what ``read`` asks of them.
      read: tuples of a cause's id, the setting in words, and a function from a layer to its setting or None.
    """
    causes = collections.defaultdict(list)
    networks = collections.defaultdict(list)
    for layer in layers:
        networks[layer.name.partition("/")[0] if "/" in layer.name else ""].append(layer)
    for group in networks.values():
        for name, what, setting in read or _READ:
            values = {layer.name: setting(layer) for layer in group}
            counts = collections.Counter(value for value in values.values() if value is not None)
            if len(counts) < 2:
                continue
            (usual, most), *_ = counts.most_common()
            if most < _LEAST_USUAL or 4 * most < 3 * sum(counts.values()):
                continue
            for layer in group:
                value = values[layer.name]
                if value is None or value == usual or (name == "epsilon" and not epsilons_differ(value, usual)):
                    continue
                text = (
                    f"{what} is {_shown(value)} here and {_shown(usual)} in {most} of the {len(group)} layers beside."
                )
                causes[layer.name].append(entry(name, text, ADVISORY))
    return causes


def _shown(value):
    return value if isinstance(value, str) else f"{value:.6g}"


def _epsilon_of(layer):
    return layer.epsilon


def _decay_of(layer):
    return layer.decay[1]


def _format_of(layer):
    one = layer.applications[0]
    return None if one.problem or one.inputs is None or one.inputs.get_shape().ndims != 4 else layer.data_format


_READ = (
    ("epsilon", "Epsilon", _epsilon_of),
    ("decay", "The decay", _decay_of),
    ("wrong-axis", "The data format", _format_of),
)


def horizon(scan, steps):
    """The number of steps at which a schedule of a graph ends and the name of its operation; None without any.

    A schedule compares the global step with a constant, or takes the smaller of the two. Of several the longest counts.

    Args:
      scan: a `layers.StructureScan`.
      steps: names of the variables that count steps.
    """
    ends = []
    for op in scan.graph.get_operations():
        if op.type not in ("Minimum", "LessEqual", "Less", "Greater", "GreaterEqual") or len(op.inputs) != 2:
            continue
        for count, other in (tuple(op.inputs), tuple(op.inputs)[::-1]):
            variable, value = _counted(scan, count), scan.static(other)
            if variable in steps and value is not None and value.size == 1 and 1 <= float(value.ravel()[0]) < 1e12:
                ends.append((int(value.ravel()[0]), op.name))
    return max(ends, default=None)


def _counted(scan, tensor):
    op = tensor.op
    while op.type in PASSES + SWITCHES:
        op = op.inputs[0].op
    return op.name if op.name in scan.variables else None
