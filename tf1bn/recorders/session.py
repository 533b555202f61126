"""Records the inputs, outputs and variables of the batch-norm layers of a graph, run by run, as a trace."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import numpy as np
import tensorflow as _tf

from .. import trace
from ..checker import batch_moments
from ..graphs.layers import layers_in
from . import run_plan

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
    itself; gamma, beta and the statistics are read just before and just after in runs of their own, because in the same
    run TensorFlow gives no order to a read and an update. Nothing else may run in the session meanwhile. Threads may
    share a recorder; their recorded runs take turns.

    Args:
      sess: a ``tf.compat.v1.Session``, or another session with its ``run``, such as a ``MonitoredSession``.
      path: the folder of the trace, which is made.
      keep: "inputs" writes inputs and outputs; "moments" writes count, mean and variance of the inputs instead, which
        is small and fast. Inputs with sample weights are always written.
      overwrite: whether to replace a trace that is there.

    Attributes:
      path: the folder of the trace.
      steps: the number of steps recorded so far.
      layers: the number of layers listed in the trace so far.

    A layer inside a ``tf.cond`` or ``tf.while_loop``, whose tensors cannot be fetched, is listed in the trace with the
    reason, and not recorded; so is one whose form cannot be understood.

    Raises:
      TypeError: `sess` is no session.
      ValueError: `keep` is neither "inputs" nor "moments".
      FileExistsError: there is something at `path`; see `trace.Writer`.
    """

    path: str
    steps: int

    def __init__(self, sess: Any, path: str | os.PathLike[str], keep: str = "inputs", overwrite: bool = False) -> None:
        if not callable(getattr(sess, "run", None)) or not isinstance(getattr(sess, "graph", None), tf.Graph):
            raise TypeError(f"`sess` is {sess!r}; it must be a session, with `run` and `graph`.")
        if keep not in KEEP:
            raise ValueError(f'`keep` is {keep!r}; it must be "inputs" or "moments".')
        self._writer = trace.Writer(path, overwrite=overwrite, producer=f"tf1bn.Recorder, TensorFlow {_tf.__version__}")
        self._session = sess
        self._keep = keep
        self._plans = Plans(sess.graph, keep == "inputs")
        self._readers = {}
        self._planning, self._running = threading.Lock(), threading.RLock()
        self._declared = {}
        self.path = self._writer.path
        self.steps = 0

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
        # Nothing is declared: it raises where the trace is closed, replaced, or belongs to another process, which may
        # hold a lock for ever.
        self._writer.add_layers({})
        with self._planning:
            plan = self._plans.of(fetches, feed_dict)
            self._declare(plan)
        if not plan.parts:
            # It waits for no other run: one that is being recorded may wait for what this one puts into a queue.
            return self._session.run(fetches, feed_dict, options=options, run_metadata=run_metadata)
        with self._running:
            return self._recorded(plan, fetches, feed_dict, options, run_metadata, training)

    def _recorded(self, plan, fetches, feed_dict, options, run_metadata, training):
        """Run and record one step, and return the results."""
        before = self._read(plan.before)
        results = self._session.run([fetches, plan.extra], feed_dict, options=options, run_metadata=run_metadata)
        after = self._read(plan.after)
        moments = _moments if self._keep == "moments" else None
        layers, trained = plan.step(before, results[1], after, moments, training)
        self._writer.add_step(layers, training=trained)
        self.steps += 1
        return results[0]

    @property
    def layers(self) -> int:
        """The number of layers that are listed in the trace so far."""
        return len(self._declared)

    def close(self) -> None:
        """Finish the trace; closing it again does nothing."""
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


class Plans:
    """The plans for the runs of one graph, made anew when the graph has grown.

    Args:
      graph: the graph.
      outputs: whether outputs are recorded.
    """

    def __init__(self, graph, outputs):
        self._graph, self._outputs = graph, outputs
        self._version = None
        self._layers, self._plans = [], {}

    def of(self, fetches, feed_dict):
        """The `run_plan.Plan` of a run.

        Raises:
          TypeError: `fetches` or `feed_dict` holds something that is not in the graph.
        """
        graph = self._graph
        if graph.version != self._version:
            self._layers, self._plans, self._version = layers_in(graph), {}, graph.version
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


def _moments(batch):
    return batch_moments(batch.astype(np.float32) if batch.dtype.name == "bfloat16" else batch)


def _components(item):
    """The tensors that a composite, such as a SparseTensor, consists of; an empty list for anything else."""
    parts = _tf.nest.flatten(item, expand_composites=True)
    return [] if len(parts) == 1 and parts[0] is item else parts
