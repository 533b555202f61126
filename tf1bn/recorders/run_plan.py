# Runs on Python 2.7 too, see below:
# ruff: noqa: B904, B905, UP004, UP010, UP031
"""What is fetched and read to record one run of a graph, and how that becomes a step of a trace.

Imports no TensorFlow. All below the imports stands word for word in docker/tf1/record_tf1.py too, which runs on
Python 2.7; a test compares.
"""

from __future__ import absolute_import, division, print_function

import collections

import numpy as np

from ..graphdef.view import reached

# ---- what record_tf1.py holds ----

Part = collections.namedtuple("Part", "layer applications outputs")
"""A layer, the list of its applications in one run, and whether their outputs are recorded."""


class Plan(object):
    """What is fetched and read to record the runs with the same fetches and feeds.

    Args:
      layers: the graph's layers, a list of `GraphLayer`.
      targets: the operations and tensors that are fetched.
      fed: names of the tensors that are fed.
      outputs: whether outputs are recorded.

    Attributes:
      layers: the layers that the run depends on.
      parts: a `Part` for each of them that can be recorded.
      extra: dict from names to tensors that are fetched in the run itself.
      before, after: lists of tensors that are read just before and just after, in runs of their own.
    """

    def __init__(self, layers, targets, fed, outputs):
        names = reached(targets, fed)

        def computed(tensor):
            return tensor.op.name in names or tensor.name in fed

        self.layers, self.parts, self.extra = [], [], {}
        before, after = collections.OrderedDict(), collections.OrderedDict()
        for layer in layers:
            applied = [a for a in layer.applications if any(op.name in names for op in a.touched)]
            if not layer.problem:
                applied = [a for a in applied if computed(a.inputs)]
            if not applied:
                continue
            self.layers.append(layer)
            if layer.problem:
                continue
            with_outputs = outputs and all(a.outputs.op.name in names and a.outputs.name not in fed for a in applied)
            wanted = [a.inputs for a in applied]
            wanted += [a.outputs for a in applied if with_outputs]
            wanted += [tensor for a in applied for tensor in (a.flag, a.weights) if tensor is not None]
            wanted += [a.rate for a in applied if a.rate is not None and computed(a.rate)]
            self.extra.update((tensor.name, tensor) for tensor in wanted)
            for variables in (layer.reads, layer.state):
                for name, tensors in variables.items():
                    before.update((tensor.name, tensor) for tensor in tensors)
                    if name not in ("gamma", "beta"):
                        after.update((tensor.name, tensor) for tensor in tensors)
            self.parts.append(Part(layer, applied, with_outputs))
        self.before, self.after = list(before.values()), list(after.values())

    def step(self, before, extra, after, moments, training):
        """The dict of layers and the training flag of a step in a trace.

        Args:
          before, extra, after: dicts from the names of tensors to arrays.
          moments: None, or a function from a batch with the channels last to its moments, which replace the inputs.
          training: whether the run trained; None takes it from the applications.
        """
        entries, flags = collections.OrderedDict(), {}
        for part in self.parts:
            entries[part.layer.name], flags[part.layer.name] = _entry(part, before, extra, after, moments)
        trained = any(any(own) for own in flags.values()) if training is None else training
        for name, own in flags.items():
            if training is None and not all(flag is trained for flag in own):
                entries[name]["training"] = own
        return entries, trained


def elements(graph, structure, argument, components):
    """A list of the operations and tensors in what a session's run takes as fetches, or as keys of its feeds.

    Args:
      argument: the name of the argument in the message of the TypeError for what is not in the graph.
      components: a function from anything else to the list of tensors that it consists of.
    """
    found, stack = [], [structure]
    while stack:
        item = stack.pop()
        if isinstance(item, dict) or (hasattr(item, "values") and hasattr(item, "keys")):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif hasattr(type(item), "__attrs_attrs__"):
            stack.extend(getattr(item, attribute.name) for attribute in type(item).__attrs_attrs__)
        else:
            try:
                found.append(graph.as_graph_element(item))
            except (TypeError, ValueError, KeyError):
                parts = components(item)
                if not parts:
                    raise TypeError("`%s` holds %r, which is not in the session's graph." % (argument, item))
                stack.extend(parts)
    return found


def _entry(part, before, extra, after, moments):
    """A layer's part of a step, and a list with whether each application trained."""
    layer, applications = part.layer, part.applications
    entry = {}
    for name, tensors in layer.reads.items():
        moving = name.startswith("moving_")
        entry[name + "_before" if moving else name] = _joined(tensors, before)
        if moving:
            entry[name + "_after"] = _joined(tensors, after)
    if layer.state:
        entry["state"] = {name: _joined(tensors, before) for name, tensors in layer.state.items()}
        entry["state"].update((name + "_after", _joined(tensors, after)) for name, tensors in layer.state.items())
    batches = [_batches(extra[a.inputs.name], a.channels) for a in applications]
    counts = [len(own) for own in batches]
    inputs = [batch for own in batches for batch in own]
    weights = [None if a.weights is None else np.reshape(extra[a.weights.name], -1) for a in applications]
    weighted = any(weight is not None for weight in weights)
    if moments is None or weighted:
        entry["inputs"] = inputs
    else:
        axis = layer.settings["axis"]
        if axis is None:
            axis = 1 if layer.settings["data_format"] == "NCHW" else -1
        entry["moments"] = [moments(np.rollaxis(batch, axis % batch.ndim, batch.ndim)) for batch in inputs]
    if weighted:
        entry["weights"] = weights
    if part.outputs:
        entry["outputs"] = []
        for a in applications:
            outputs = np.reshape(extra[a.outputs.name], np.shape(extra[a.inputs.name]))
            entry["outputs"].extend(_batches(outputs, a.channels))
    flags = [a.trains if a.flag is None else bool(np.all(extra[a.flag.name])) == a.trains for a in applications]
    if layer.settings["decay"] is None:
        decays = [_decay(a, extra) if trained else None for a, trained in zip(applications, flags)]
        used = {decay for decay, trained in zip(decays, flags) if trained}
        entry["decay"] = used.pop() if len(used) == 1 else None
        if used and max(counts) == 1:
            entry["decays"] = decays
    if max(counts) > 1:
        # Their updates are one: the mean of those that each would make.
        entry["reduction"] = "mean"
    return entry, [flag for flag, count in zip(flags, counts) for _ in range(count)]


def _joined(tensors, values):
    arrays = [np.asarray(values[tensor.name]) for tensor in tensors]
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return joined if joined.ndim < 2 else joined.reshape(-1)


def _batches(array, channels):
    """The batches of an application as a trace holds them, a list of arrays: one, or its virtual batches.

    The channels of several axes are put last, as one axis, in the order of the statistics' values.
    """
    if channels is None:
        return [_batch(array)]
    axes, batches = list(channels.axes), [array]
    if channels.virtual is not None:
        batches = list(np.rollaxis(array, channels.virtual))
        axes = [axis - (axis > channels.virtual) for axis in axes]
    others = [i for i in range(batches[0].ndim) if i not in axes]
    size = int(np.prod([batches[0].shape[axis] for axis in axes]))
    return [
        _batch(batch.transpose(others + axes).reshape([batch.shape[i] for i in others] + [size])) for batch in batches
    ]


def _batch(array):
    """The array with rank 2 or more, as a trace holds it: TensorFlow normalises a vector as one sample."""
    array = np.asarray(array)
    return array[np.newaxis] if array.ndim == 1 else array


def _decay(application, extra):
    """The decay of an application in this run, or None if it is unknown or not from 0 to 1."""
    if application.rate is None:
        return application.settings["decay"]
    if application.rate.name not in extra:
        return None
    value = float(np.reshape(extra[application.rate.name], -1)[0])
    value = value if application.rate_is_decay else 1 - value
    return value if 0 <= value <= 1 else None
