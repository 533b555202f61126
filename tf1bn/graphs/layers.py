"""The batch-norm layers of a TensorFlow graph: those that tf1bn built, and those found by their operations."""

import math

import tensorflow as _tf

from ..graphdef.model import Application, Channels, layers_of
from ..graphdef.scan import Scan
from ..layers import training_flag
from ..layers.arguments import NHWC
from ..layers.graph_collections import BUILT_LAYERS, parts

tf = _tf.compat.v1


def layers_in(graph):
    """The batch-norm layers of a graph, a list of `model.GraphLayer`."""
    with graph.as_default():
        trainable = {variable.op.name for variable in tf.trainable_variables()}
    scan = Scan(graph, tf.make_ndarray, trainable)
    own = [_application(scan, built) for built in graph.get_collection(BUILT_LAYERS)]
    return layers_of(scan.applications(own))


def _application(scan, built):
    """The `Application` of a `BuiltLayer`, whose arguments say what a scan would have to find out."""
    call, variables = built.call, built.variables
    statistic = variables.statistics[0].op
    problem = call.unrecordable or scan.problem_of(call.batch, built.outputs)
    touched = [built.outputs.op, *(item.op if _tf.is_tensor(item) else item for item in built.updates)]
    if built.outputs.graph is not scan.graph:
        # The callers of a function run what is inside it.
        touched = scan.callers_of(statistic)
    flag = None
    trains = training_flag.static_value(call.is_training)
    if trains is None:
        # In a function it may be a tensor of the function, which cannot be fetched.
        flag, trains = (None if problem else _tensors(scan.graph, call.is_training)[0]), True
    decay, rate = call.decay, None
    if _tf.is_tensor(decay) or isinstance(decay, _tf.Variable):
        decay, rate = None, None if problem else _tensors(scan.graph, decay)[0]
    elif not 0 <= decay <= 1:
        problem = problem or f"its decay is {decay}, which is not between 0 and 1"
        decay = None
    reads = dict(zip(("moving_mean", "moving_variance"), variables.statistics, strict=True))
    reads |= {"gamma": variables.gamma, "beta": variables.beta}
    state = dict(variables.renorm)
    state |= dict(zip(("biased", "local_step"), variables.debias or (), strict=False))
    return Application(
        statistic=statistic,
        inputs=call.batch,
        outputs=built.outputs,
        reads={name: _tensors(scan.graph, variable) for name, variable in reads.items() if variable is not None},
        state={name: _tensors(scan.graph, variable) for name, variable in state.items()},
        flag=flag,
        trains=trains,
        rate=rate,
        rate_is_decay=True,
        weights=call.batch_weights,
        channels=None if call.vectors else Channels(call.channel_axes, call.virtual_axis),
        touched=touched,
        problem=problem,
        settings=_settings(call, variables, decay),
    )


def _settings(call, variables, decay):
    """The settings of a layer by their names in a trace; ``decay`` is None where a run alone knows it."""
    return {
        "decay": None if decay is None else float(decay),
        "epsilon": _number(call.epsilon),
        "data_format": call.data_format if call.vectors else NHWC,
        "dtype": variables.statistics[0].dtype.base_dtype.name,
        "fused": call.path.fused,
        "zero_debias": variables.debias is not None,
        "trainable": bool(call.trainable),
        "release": call.release.name,
        "center": variables.beta is not None,
        "scale": variables.gamma is not None,
        "axis": call.recorded_axis if call.vectors else None,
        "renorm": bool(variables.renorm),
        "renorm_clipping": _clipping(call) if variables.renorm else None,
        "rate_dtype": _rate_dtype(call, variables) if decay is not None else None,
    }


def _rate_dtype(call, variables):
    # For float64 statistics 1 - decay is formed in Python and then rounded to float32, as in TF 1.x: neither of both.
    if variables.statistics[0].dtype.base_dtype == _tf.float64:
        return None
    dynamic = training_flag.static_value(call.is_training) is None
    return "float32" if call.release.rounds_rate(call.path.core, call.path.fused, dynamic) else "float64"


def _clipping(call):
    """The limits of r and d as numbers; None if one of them is a tensor that only a run knows."""
    limits = {name: limit for name, limit in call.renorm_clipping.items() if limit is not None}
    numbers = {name: _number(limit) for name, limit in limits.items()}
    return None if None in numbers.values() else numbers


def _number(value):
    """A number as a float; None for a tensor that only a run knows, and for what is not finite."""
    value = _tf.get_static_value(value) if _tf.is_tensor(value) else value
    return float(value) if value is not None and math.isfinite(value) else None


def _tensors(graph, variable):
    """A list with the tensor of a variable or tensor; of several for the parts that a partitioner made."""
    return [graph.as_graph_element(part) for part in parts(variable)]
