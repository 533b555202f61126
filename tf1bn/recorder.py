"""Records what the batch-norm layers of a graph take, give and hold, run by run, into a trace."""

import collections
import dataclasses
import warnings

import numpy as np
import tensorflow as _tf

from . import graphscan, graphview, trace
from .applications import layers_in
from .checker import batch_moments

tf = _tf.compat.v1

KEEP = ("inputs", "moments")


class Recorder:
    """Runs like a session and records every run that a batch-norm layer takes part in as one step of a trace.

        with tf1bn.Recorder(sess, "run.trace") as rec:
            for batch in batches:
                rec.run(train_op, {x: batch})

    A layer is any that ``tf1bn.batch_norm`` made, and any whose operations are those of batch normalisation: the fused
    operations, or ``tf.nn.batch_normalization`` with moving averages, as in graphs of TensorFlow 1.x that were
    imported. It is recorded in the runs whose fetches depend on it. Its inputs and outputs are fetched in the run
    itself; gamma, beta and the statistics are read just before and just after in runs of their own, because in the
    same run TensorFlow gives no order to a read and an update. Nothing else may run in the session meanwhile.

    Args:
      sess: a ``tf.compat.v1.Session``, or another session with its ``run``, such as a ``MonitoredSession``.
      path: the folder of the trace, which is made.
      keep: "inputs" writes inputs and outputs; "moments" writes count, mean and variance of the inputs instead, which
        is small and fast. Inputs with sample weights are always written.
      overwrite: replace a trace that is there.

    Attributes:
      path: that of the trace.
      steps: the number of steps recorded so far.

    A layer inside a ``tf.cond`` or ``tf.while_loop``, whose tensors cannot be fetched, is listed in the trace with the
    reason, and not recorded; so is one whose form cannot be understood.

    Raises:
      TypeError: `sess` is no session.
      ValueError: `keep` is not one of the two.
      FileExistsError: there is something at `path`; see `trace.Writer`.
    """

    def __init__(self, sess, path, keep="inputs", overwrite=False):
        if not callable(getattr(sess, "run", None)) or not isinstance(getattr(sess, "graph", None), tf.Graph):
            raise TypeError(f"`sess` is {sess!r}; it must be a session, with `run` and `graph`.")
        if keep not in KEEP:
            raise ValueError(f'`keep` is {keep!r}; accepted are "inputs" and "moments".')
        self._writer = trace.Writer(path, overwrite=overwrite, producer=f"tf1bn.Recorder, TensorFlow {_tf.__version__}")
        self._session = sess
        self._keep = keep
        self._version = None
        self._layers = []
        self._plans = {}
        self._declared = {}
        self.path = self._writer.path
        self.steps = 0

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None, *, training=None):
        """``sess.run`` with the same arguments and result; the run is recorded if a layer takes part in it.

        Args:
          training: whether this run trains, instead of what the graph and the feeds say about each application.

        Raises:
          TypeError: `fetches` holds something that is not in the graph.
          ValueError: `training` is neither a bool nor None, or the recorder is closed.
          And whatever ``sess.run`` raises; such a run is no step.
        """
        if training is not None and not isinstance(training, bool):
            raise ValueError(f"`training` is {training!r}; it must be True, False or None.")
        plan = self._plan(fetches, feed_dict)
        self._declare(plan)
        if not plan.parts:
            return self._session.run(fetches, feed_dict, options=options, run_metadata=run_metadata)
        before = plan.read_before()
        results = self._session.run([fetches, plan.extra], feed_dict, options=options, run_metadata=run_metadata)
        after = plan.read_after()
        entries, flags = {}, {}
        for part in plan.parts:
            entries[part.layer.name], flags[part.layer.name] = _entry(part, before, results[1], after, self._keep)
        trained = any(any(own) for own in flags.values()) if training is None else training
        for name, own in flags.items():
            if training is None and not all(flag is trained for flag in own):
                entries[name]["training"] = own
        self._writer.add_step(entries, training=trained)
        self.steps += 1
        return results[0]

    def close(self):
        """Finish the trace; more than once does no harm."""
        self._writer.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _plan(self, fetches, feed_dict):
        graph = self._session.graph
        if graph.version != self._version:
            self._layers, self._plans, self._version = layers_in(graph), {}, graph.version
        targets = _elements(graph, fetches, "fetches")
        fed = frozenset(element.name for element in _elements(graph, list(feed_dict or ()), "feed_dict"))
        key = (tuple(element.name for element in targets), fed)
        if key not in self._plans:
            self._plans[key] = _Plan(self._layers, targets, fed, self._keep == "inputs", self._reader)
        return self._plans[key]

    def _declare(self, plan):
        """Name the layers in the trace the first time that a run depends on them; what they were then is kept."""
        new = {}
        for layer in plan.layers:
            if layer.name not in self._declared:
                problem = f"{layer.problem[0].upper()}{layer.problem[1:]}." if layer.problem else None
                new[layer.name] = trace.Layer(**layer.settings, unrecordable=problem)
            elif layer.problem and self._declared[layer.name].unrecordable is None:
                warnings.warn(
                    f"Layer {layer.name!r} is no longer recorded: it was applied once more, and there {layer.problem}.",
                    stacklevel=3,
                )
        self._writer.add_layers(new)
        self._declared |= new

    def _reader(self, tensors):
        """A function that reads these tensors, in a run of its own, as arrays that nothing changes any more."""
        if hasattr(self._session, "run_step_fn"):
            # A run of a monitored session would count as a step of its hooks.
            def values():
                return self._session.run_step_fn(lambda step_context: step_context.session.run(tensors))
        else:
            values = self._session.make_callable(tensors)
        # A reference variable's value may share memory with the variable.
        return lambda: {tensor.name: np.array(value) for tensor, value in zip(tensors, values(), strict=True)}


@dataclasses.dataclass(frozen=True)
class _Part:
    """A layer's applications in one run, and whether their outputs are recorded."""

    layer: graphscan.Layer
    applications: list
    outputs: bool


class _Plan:
    """What is to be done for runs with the same fetches and feeds.

    Attributes:
      layers: those that the run depends on. parts: a `_Part` for each of them that can be recorded.
      extra: dict from names to tensors that are fetched in the run itself.
      read_before, read_after: functions that give dicts from the names of tensors to arrays.
    """

    def __init__(self, layers, targets, fed, outputs, reader):
        reached = graphview.reached(targets, fed)

        def there(tensor):
            return tensor.op.name in reached or tensor.name in fed

        self.layers, self.parts, self.extra = [], [], {}
        before, after = {}, {}
        for layer in layers:
            applied = [a for a in layer.applications if any(op.name in reached for op in a.touched)]
            if not layer.problem:
                applied = [a for a in applied if there(a.inputs)]
            if not applied:
                continue
            self.layers.append(layer)
            if layer.problem:
                continue
            made = all(a.outputs.op.name in reached and a.outputs.name not in fed for a in applied)
            wanted = [a.inputs for a in applied]
            wanted += [a.outputs for a in applied if outputs and made]
            wanted += [tensor for a in applied for tensor in (a.flag, a.weights) if tensor is not None]
            wanted += [a.rate for a in applied if a.rate is not None and there(a.rate)]
            self.extra.update((tensor.name, tensor) for tensor in wanted)
            for name, tensors in (layer.reads | layer.state).items():
                before.update((tensor.name, tensor) for tensor in tensors)
                if name not in ("gamma", "beta"):
                    after.update((tensor.name, tensor) for tensor in tensors)
            self.parts.append(_Part(layer, applied, outputs and made))
        if self.parts:
            self.read_before, self.read_after = reader(list(before.values())), reader(list(after.values()))


def _entry(part, before, extra, after, keep):
    """What `trace.Writer.add_step` takes for a layer, and a list with whether each application trained."""
    layer, applications = part.layer, part.applications
    entry = {}
    for name, tensors in layer.reads.items():
        moving = name.startswith("moving_")
        entry[f"{name}_before" if moving else name] = _joined(tensors, before)
        if moving:
            entry[f"{name}_after"] = _joined(tensors, after)
    if layer.state:
        entry["state"] = {name: _joined(tensors, before) for name, tensors in layer.state.items()}
        entry["state"] |= {f"{name}_after": _joined(tensors, after) for name, tensors in layer.state.items()}
    inputs = [_batch(extra[a.inputs.name]) for a in applications]
    weights = [None if a.weights is None else np.reshape(extra[a.weights.name], -1) for a in applications]
    weighted = any(weight is not None for weight in weights)
    if keep == "inputs" or weighted:
        entry["inputs"] = inputs
    else:
        entry["moments"] = [_moments(batch, layer.settings) for batch in inputs]
    if weighted:
        entry["weights"] = weights
    if part.outputs:
        entry["outputs"] = [_batch(extra[a.outputs.name]) for a in applications]
    flags = [a.trains if a.flag is None else bool(np.all(extra[a.flag.name])) == a.trains for a in applications]
    if layer.settings["decay"] is None:
        decays = {_decay(a, extra) for a, trained in zip(applications, flags, strict=True) if trained}
        entry["decay"] = decays.pop() if len(decays) == 1 else None
    return entry, flags


def _joined(tensors, values):
    arrays = [values[tensor.name] for tensor in tensors]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _batch(array):
    """An array as it goes into a trace: of rank 2 or more. TensorFlow takes a vector for one sample."""
    array = np.asarray(array)
    return array[np.newaxis] if array.ndim == 1 else array


def _moments(batch, settings):
    if settings["axis"] is not None:
        batch = np.moveaxis(batch, settings["axis"], -1)
    if batch.dtype.name == "bfloat16":
        batch = batch.astype(np.float32)
    return batch_moments(batch, data_format=settings["data_format"] if settings["axis"] is None else "NHWC")


def _decay(application, extra):
    """The decay in this run, or None."""
    if application.rate is None:
        return application.settings["decay"]
    if application.rate.name not in extra:
        return None
    value = float(np.reshape(extra[application.rate.name], -1)[0])
    value = value if application.rate_is_decay else 1 - value
    return value if 0 <= value <= 1 else None


def _elements(graph, structure, argument):
    """The operations and tensors in what a session's run takes as fetches, or as keys of its feeds."""
    found, stack = [], [structure]
    while stack:
        item = stack.pop()
        if isinstance(item, collections.abc.Mapping):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif hasattr(type(item), "__attrs_attrs__"):
            stack.extend(getattr(item, attribute.name) for attribute in type(item).__attrs_attrs__)
        else:
            try:
                found.append(graph.as_graph_element(item))
            except (TypeError, ValueError, KeyError) as error:
                parts = _tf.nest.flatten(item, expand_composites=True)
                if len(parts) == 1 and parts[0] is item:
                    raise TypeError(f"`{argument}` holds {item!r}, which is not in the session's graph.") from error
                stack.extend(parts)
    return found
