"""Records the inputs, outputs and variables of the batch-norm layers of a graph, run by run, as a trace."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as _tf

from .. import trace
from .._util.printable import printable
from .._util.text import counted
from ..checker import batch_moments
from ..graphs.layers import layers_in
from . import run_plan
from .collector import size_of
from .deciding import moments_decide
from .limits import Limits

tf = _tf.compat.v1


class Recorder:
    """Runs like a session and records every run that a batch-norm layer takes part in as one step of a trace.

        with tf1bn.Recorder(sess, "run.trace") as rec:
            for batch in batches:
                rec.run(train_op, {x: batch})

    A layer is any that ``tf1bn.batch_norm`` made, and any whose operations are those of batch normalisation: the fused
    operations, or ``tf.nn.batch_normalization`` with moving averages, as in graphs of TensorFlow 1.x that were
    imported. It is recorded in the runs whose fetches depend on it. Its inputs and outputs are fetched in the run
    itself; gamma, beta and the statistics are read just before and just after in runs of their own, because in the same
    run TensorFlow gives no order to a read and an update. Nothing else may run in the session meanwhile. Threads may
    share a recorder; their recorded runs take turns.

    Args:
      sess: a ``tf.compat.v1.Session``, or another session with its ``run``, such as a ``MonitoredSession``.
      path: the folder of the trace, which is made.
      keep: "inputs" and "all" write inputs and outputs; "moments" writes count, mean and variance of the inputs
        instead, which is small and fast; "auto" does so after the first steps, see `recorders.limits.Limits`. Inputs
        with sample weights are always written.
      overwrite: whether to replace a trace that is there.
      every, steps, layers, max_bytes: as for `recorders.limits.Limits`; a step is a run that a layer takes part in.

    Attributes:
      path: the folder of the trace.
      steps: the number of steps recorded so far.
      layers: the number of layers listed in the trace so far.
      bytes: the size of the trace so far.
      problem: None, or why the recording ended before the runs did, the rest of a sentence.

    A layer inside a ``tf.cond`` or ``tf.while_loop``, whose tensors cannot be fetched, is listed in the trace with the
    reason, and not recorded; so is one whose form cannot be understood.

    Raises:
      TypeError: `sess` is no session.
      TypeError, ValueError: what limits the recording is not as above.
      FileExistsError: there is something at `path`; see `trace.Writer`.
    """

    path: str
    steps: int

    def __init__(
        self,
        sess: Any,
        path: str | os.PathLike[str],
        keep: str = "inputs",
        overwrite: bool = False,
        *,
        every: int = 1,
        steps: int | slice | None = None,
        layers: str | Iterable[str] | None = None,
        max_bytes: int | None = None,
    ) -> None:
        if not callable(getattr(sess, "run", None)) or not isinstance(getattr(sess, "graph", None), tf.Graph):
            raise TypeError(f"`sess` is {sess!r}; it must be a session, with `run` and `graph`.")
        self._limits = Limits(keep, every, steps, layers, max_bytes)
        self._writer = trace.Writer(
            path,
            overwrite=overwrite,
            producer=f"tf1bn.Recorder, TensorFlow {_tf.__version__}",
            framework="TensorFlow",
            framework_version=_tf.__version__,
            packed=True,
        )
        self._session = sess
        self._keep = keep
        self._plans = Plans(sess.graph, keep != "moments", self._limits)
        self._readers = {}
        self._planning, self._running = threading.Lock(), threading.RLock()
        self._declared = {}
        self._closed = False
        self.path = self._writer.path
        self.steps = self._seen = self._left_out = 0
        self.problem: str | None = None

    def run(
        self,
        fetches: Any,
        feed_dict: Any = None,
        options: Any = None,
        run_metadata: Any = None,
        *,
        training: bool | None = None,
    ) -> Any:
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
        plan = self.plan(fetches, feed_dict)
        if not plan.parts:
            # It waits for no other run: one that is being recorded may wait for what this one puts into a queue.
            return self._session.run(fetches, feed_dict, options=options, run_metadata=run_metadata)
        with self._running:
            return self._recorded(plan, fetches, feed_dict, options, run_metadata, training)

    def plan(self, fetches, feed_dict):
        """The `run_plan.Plan` of a run, whose layers are listed in the trace. Private."""
        # Nothing is declared: it raises where the trace is closed, replaced, or belongs to another process, which may
        # hold a lock for ever.
        self._writer.add_layers({})
        with self._planning:
            plan = self._plans.of(fetches, feed_dict)
            self._declare(plan)
        return plan

    def _recorded(self, plan, fetches, feed_dict, options, run_metadata, training):
        """Run and record one step, and return the results."""
        before = self.before(plan)
        if before is None:
            return self._session.run(fetches, feed_dict, options=options, run_metadata=run_metadata)
        results = self._session.run([fetches, plan.extra], feed_dict, options=options, run_metadata=run_metadata)
        self.after(plan, before, results[1], training)
        return results[0]

    def use(self, session):
        """Read variables through this session of the same graph from now on. Private."""
        if session is not self._session:
            self._session, self._readers = session, {}

    def before(self, plan):
        """Begin a step: the values before it by the names of tensors, or None if the step is left out. Private."""
        number = self._seen
        self._seen += 1
        if self.problem is not None or not self._limits.takes_step(number):
            self._left_out += 1
            return None
        return self._read(plan.before)

    def after(self, plan, before, extra, training):
        """Write the step that `before` began, with what it fetched in addition. Private."""
        after = self._read(plan.after)
        moments = batch_moments if self._keep == "moments" else None
        layers, trained = plan.step(before, extra, after, moments, training)
        if self._keep == "auto":
            layers = {name: self._reduced(entry, trained, self._declared[name]) for name, entry in layers.items()}
        if not self._limits.allows(self.bytes + size_of(layers)):
            self.problem = f"the recording ended before step {self._seen - 1}, with which it would exceed `max_bytes`"
            return
        self._writer.add_step(layers, training=trained, step=self._seen - 1, left_out=self._left_out)
        self._limits.count_step(trained)
        self.steps, self._left_out = self.steps + 1, 0

    def _reduced(self, entry, trained, layer):
        """A layer's part of a step, with moments in the place of arrays where these are no longer kept."""
        arrays = [*entry["inputs"], *entry.get("outputs", ())]
        if "weights" in entry or self._limits.kind(trained, sum(array.nbytes for array in arrays)) != "moments":
            return entry
        axis = layer.channel_axis
        moments = [batch_moments(np.moveaxis(batch, axis % batch.ndim, -1)) for batch in entry["inputs"]]
        size = entry["inputs"][0].nbytes
        if self._limits.keeps_undecided(size, lambda: _decided(entry, trained, layer, moments)):
            return {key: value for key, value in entry.items() if key != "outputs"}
        rest = {key: value for key, value in entry.items() if key not in ("inputs", "outputs")}
        return {**rest, "moments": moments}

    @property
    def bytes(self) -> int:
        """The size of the trace so far."""
        return self._writer.bytes

    @property
    def layers(self) -> int:
        """The number of layers that are listed in the trace so far."""
        return len(self._declared)

    def close(self) -> None:
        """Finish the trace, and say on stderr if it holds no layer; closing it again does nothing."""
        if not self._closed and not self._declared:
            print(
                f"tf1bn: {printable(f'{self.path}: no layer was recorded: {self._plans.why_none()}.')}", file=sys.stderr
            )
        self._closed = True
        self._writer.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _declare(self, plan):
        """List layers in the trace when a run depends on them for the first time, with their settings of that time."""
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

    def _read(self, tensors):
        """The values of these tensors, read in a run of its own: a dict from their names."""
        key = tuple(tensor.name for tensor in tensors)
        if key not in self._readers:
            self._readers[key] = _reader(self._session, tensors)
        return dict(zip(key, self._readers[key](), strict=True))


def _decided(entry, trained, layer, moments):
    """Whether the moments of a layer's inputs in a step tell whether its statistics are right."""
    training = entry.get("training", trained)
    if len(moments) != 1 or not (training[0] if isinstance(training, (list, tuple)) else training):
        return True
    before = entry["moving_mean_before"], entry["moving_variance_before"]
    after = entry["moving_mean_after"], entry["moving_variance_after"]
    return moments_decide(layer, before, after, moments[0], entry.get("decay", layer.decay))


class Plans:
    """The plans for the runs of one graph, made anew when the graph has grown.

    Args:
      graph: the graph.
      outputs: whether outputs are recorded.
      limits: None, or the `Limits` that say which layers are recorded.
    """

    def __init__(self, graph, outputs, limits=None):
        self._graph, self._outputs, self._limits = graph, outputs, limits
        self._version = None
        self._layers, self._plans = [], {}

    def why_none(self):
        """Why no layer took part in any run, the end of a sentence."""
        if self._version is None:
            return "nothing was run by it"
        if self._layers:
            return f"{counted(len(self._layers), 'layer')} of the graph took part in no run"
        return (
            "the graph has no batch norm with moving statistics, or none that `layers` asks for; in a frozen graph "
            "they are constants named moving_mean and moving_variance, unless they were folded into the weights"
        )

    def of(self, fetches, feed_dict):
        """The `run_plan.Plan` of a run.

        Raises:
          TypeError: `fetches` or `feed_dict` holds something that is not in the graph.
        """
        graph = self._graph
        if graph.version != self._version:
            self._layers, self._plans, self._version = layers_in(graph), {}, graph.version
            if self._limits is not None:
                self._layers = [layer for layer in self._layers if self._limits.takes_layer(layer.name)]
        targets = run_plan.elements(graph, fetches, "fetches", _components)
        fed = run_plan.elements(graph, list(feed_dict or ()), "feed_dict", _components)
        key = tuple(element.name for element in targets), frozenset(element.name for element in fed)
        if key not in self._plans:
            self._plans[key] = run_plan.Plan(self._layers, targets, key[1], outputs=self._outputs)
        return self._plans[key]


def _reader(session, tensors):
    """A function that reads the values of these tensors in a run of its own."""
    if hasattr(session, "run_step_fn"):
        # A run of a monitored session would count as a step of its hooks.
        return lambda: session.run_step_fn(lambda step_context: step_context.session.run(tensors))
    return session.make_callable(tensors)


def _components(item):
    """The tensors that a composite, such as a SparseTensor, consists of; an empty list for anything else."""
    parts = _tf.nest.flatten(item, expand_composites=True)
    return [] if len(parts) == 1 and parts[0] is item else parts
