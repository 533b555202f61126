"""What the layer tells the recorder when it is built: kept with the graph, unseen by those who list collections."""

import math

import tensorflow as _tf

from ..layers import training_flag
from ..layers.graph_collections import APPLICATIONS
from . import scan as graphscan

tf = _tf.compat.v1


def layers_in(graph):
    """The batch-norm layers of a graph, a list of `graphscan.Layer`: those of tf1bn, and those found by their form."""
    with graph.as_default():
        trainable = {variable.op.name for variable in tf.trainable_variables()}
    scan = graphscan.Scan(graph, tf.make_ndarray, trainable)
    own = [_application(scan, applied) for applied in graph.get_collection(APPLICATIONS)]
    return graphscan.layers_of(scan.applications(own))


def _application(scan, applied):
    mean, variance = applied.statistics
    statistic = mean.op
    problem = applied.problem or scan.problem_of(applied.inputs, applied.outputs)
    touched = [applied.outputs.op, *applied.updates]
    if applied.outputs.graph is not scan.graph:
        # What is inside a function is run by who calls the function.
        touched = scan.callers_of(statistic)
    flag = None
    trains = training_flag.known(applied.is_training)
    if trains is None:
        # In a function it may be a tensor of the function, which cannot be fetched.
        flag, trains = (None if problem else _tensors(scan.graph, applied.is_training)[0]), True
    decay, rate = applied.decay, None
    if _tf.is_tensor(decay) or isinstance(decay, _tf.Variable):
        decay, rate = None, None if problem else _tensors(scan.graph, decay)[0]
    elif not 0 <= decay <= 1:
        problem = problem or f"its decay is {decay}, which is not between 0 and 1"
        decay = None
    names = ("moving_mean", "moving_variance", "gamma", "beta")
    held = dict(zip(names, (mean, variance, applied.gamma, applied.beta), strict=True))
    state = dict(zip(("moving_stddev", "renorm_mean", "renorm_stddev"), applied.renorm or (), strict=False))
    state |= dict(zip(("biased", "local_step"), applied.debias or (), strict=False))
    return graphscan.Application(
        statistic=statistic,
        inputs=applied.inputs,
        outputs=applied.outputs,
        reads={name: _tensors(scan.graph, variable) for name, variable in held.items() if variable is not None},
        state={name: _tensors(scan.graph, variable) for name, variable in state.items()},
        flag=flag,
        trains=trains,
        rate=rate,
        rate_is_decay=True,
        weights=applied.weights,
        touched=touched,
        problem=problem,
        settings={
            "decay": None if decay is None else float(decay),
            "epsilon": _number(applied.epsilon),
            "data_format": applied.data_format,
            "dtype": mean.dtype.base_dtype.name,
            "fused": applied.fused,
            "zero_debias": applied.debias is not None,
            "trainable": bool(applied.trainable),
            "release": applied.release.name,
            "center": applied.beta is not None,
            "scale": applied.gamma is not None,
            "axis": applied.axis,
            "renorm": applied.renorm is not None,
            "rate_dtype": _rate_dtype(applied) if decay is not None else None,
        },
    )


def _rate_dtype(applied):
    # For float64 statistics 1 - decay is formed in Python and then rounded to float32, as in TF 1.x: neither of both.
    if applied.statistics[0].dtype.base_dtype == _tf.float64:
        return None
    dynamic = training_flag.known(applied.is_training) is None
    return "float32" if applied.release.rounds_rate(applied.core, applied.fused, dynamic) else "float64"


def _number(value):
    value = _tf.get_static_value(value) if _tf.is_tensor(value) else value
    return float(value) if value is not None and math.isfinite(value) else None


def _tensors(graph, variable):
    """What is fetched for a variable or tensor; several tensors for the parts that a partitioner made."""
    one = isinstance(variable, _tf.Variable) or _tf.is_tensor(variable)
    return [graph.as_graph_element(part) for part in ([variable] if one else list(variable))]
