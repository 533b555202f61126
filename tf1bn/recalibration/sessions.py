"""Sessions of ``tf.compat.v1``, recalibrated. Reached through `tf1bn.recalibration`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as _tf

from ..graphdef.view import reached
from ..graphs.layers import layers_in
from .engine import Convention, Statistics, Take

tf = _tf.compat.v1
_STATISTICS = ("moving_mean", "moving_variance")
# Operations that take a variable and leave it as it is.
_READERS = ("Identity", "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarIsInitializedOp", "VariableShape")


class Session:
    """A session whose layers are found in its graph, and whose inputs are fetched; see `engine.Target`."""

    def __init__(self, session: Any) -> None:
        self._session, self._graph = session, session.graph
        self._by_batch = False
        self._layers: dict[str, Any] = {}
        self._variables: dict[str, list[list[Any]]] = {}
        self._known = _variables_of(self._graph)
        # The statistics that are asked for, and other variables that a run may change with what they held before.
        self._chosen: set[str] = set()
        self._state: dict[str, tuple[Any, Any]] = {}
        self._kept: set[tuple[tuple[str, ...], frozenset[str]]] = set()
        self.conventions: dict[str, Convention] = {}
        self.left_out: dict[str, str] = {}
        layers = layers_in(self._graph)
        if not layers and any("PartitionedCall" in op.type for op in self._graph.get_operations()):
            raise ValueError(
                "`model` has no batch-norm layer outside of functions, and what its graph calls in functions, as "
                "SavedModels of TensorFlow 2 do, is not looked into; recalibrate the model that was saved there, such "
                "as the Keras model, in Python."
            )
        for layer in layers:
            variables = [
                [_variable_of(tensor, self._known) for tensor in layer.reads.get(name, ())] for name in _STATISTICS
            ]
            problem = _problem(layer, variables)
            if problem:
                self.left_out[layer.name] = problem
                continue
            self._layers[layer.name] = layer
            self._variables[layer.name] = variables
            self.conventions[layer.name] = Convention(bool(layer.settings["fused"]), layer.settings["epsilon"])

    def read(self, name: str) -> Statistics:
        values = self._run(self._variables[name])
        return Statistics(*(np.concatenate([np.reshape(part, -1) for part in parts]) for parts in values))

    def write(self, name: str, statistics: Statistics) -> None:
        values_of = []
        for parts, values in zip(self._variables[name], statistics, strict=True):
            start = 0
            for part in parts:
                size = part.shape.num_elements()
                values_of.append((part, np.reshape(values[start : start + size], part.shape.as_list())))
                start += size
        self._assign(values_of)

    def begin(self, names: list[str], by_batch: bool) -> None:
        self._by_batch = by_batch
        self._chosen = {part.op.name for name in names for parts in self._variables[name] for part in parts}

    def end(self) -> None:
        self._assign(list(self._state.values()))
        self._state, self._kept = {}, set()

    def levels(self, names: list[str], batch: Any) -> list[list[str]]:
        fed = self._names(batch)
        inputs = {name: [a.inputs for a in self._applications(name, fed)] for name in names}
        outputs = {name: {a.outputs.op.name for a in self._layers[name].applications} for name in names}
        before = {}
        for name in names:
            operations = set(reached(inputs[name], fed)) if inputs[name] else set()
            before[name] = {other for other in names if other != name and outputs[other] & operations}
        levels: list[list[str]] = []
        rest = list(names)
        while rest:
            # Layers that depend on each other, as in a loop, are taken in the order of the graph.
            level = [name for name in rest if not before[name] & set(rest)] or rest[:1]
            levels.append(level)
            rest = [name for name in rest if name not in level]
        return levels

    def recipe(self) -> None:
        return None

    def run(self, batch: Any, names: list[str], take: Take) -> None:
        fed = self._names(batch)
        applications = [(name, a) for name in names for a in self._applications(name, fed)]
        if not applications:
            return
        flags = [a.flag for _, a in applications if a.flag is not None]
        weights = [a.weights for _, a in applications if a.weights is not None]
        inputs = [a.inputs for _, a in applications]
        self._keep([*inputs, *flags, *weights], fed)
        inputs, flags, weights = self._run([inputs, flags, weights], batch)
        self._check_flags(applications, flags)
        given = iter(weights)
        for (name, application), values in zip(applications, inputs, strict=True):
            of_samples = None if application.weights is None else np.asarray(next(given), np.float64).reshape(-1)
            take(name, _channels_last(values, application), of_samples)

    def _keep(self, fetches: list[Any], fed: frozenset[str]) -> None:
        """Remember what the variables hold that a run may change, as by updates on which the fetches depend."""
        key = tuple(tensor.name for tensor in fetches), fed
        if key in self._kept:
            return
        self._kept.add(key)
        changed = {}
        for name in reached(fetches, fed):
            op = self._graph.get_operation_by_name(name)
            if op.type in _READERS:
                continue
            for tensor in op.inputs:
                if tensor.dtype == tf.resource or tensor.dtype != tensor.dtype.base_dtype:
                    variable = _variable_of(tensor, self._known)
                    if variable is not None and variable.op.name not in self._chosen:
                        changed[variable.op.name] = variable
        new = {name: variable for name, variable in changed.items() if name not in self._state}
        if new:
            values = self._run(list(new.values()))
            self._state |= dict(zip(new, zip(new.values(), values, strict=True), strict=True))

    def _applications(self, name: str, fed: frozenset[str]) -> list[Any]:
        """The applications of a layer in the mode that is wanted whose inputs the feeds determine."""
        chosen = [
            a
            for a in self._layers[name].applications
            if (a.flag is not None or bool(a.trains) is self._by_batch) and not self._missing(a, fed)
        ]
        if not chosen:
            raise ValueError(self._unreached(name, fed))
        return chosen

    def _missing(self, application: Any, fed: frozenset[str]) -> list[str]:
        """The placeholders that the input and the flag of an application depend on and that are not fed."""
        tensors = [t for t in (application.inputs, application.flag, application.weights) if t is not None]
        operations = (self._graph.get_operation_by_name(name) for name in reached(tensors, fed))
        return sorted(op.name for op in operations if op.type == "Placeholder" and op.outputs[0].name not in fed)

    def _unreached(self, name: str, fed: frozenset[str]) -> str:
        wanted = "training" if self._by_batch else "inference"
        order = "batch" if self._by_batch else "sequential"
        applications = self._layers[name].applications
        missing = sorted({place for a in applications for place in self._missing(a, fed)})
        if missing:
            return (
                f"A batch does not feed {', '.join(map(repr, missing))}, on which the inputs of layer {name!r} depend."
            )
        return (
            f"Layer {name!r} is not applied in {wanted} anywhere in the graph, which the order {order!r} needs; use "
            "the other order."
        )

    def _check_flags(self, applications: list[tuple[str, Any]], flags: list[Any]) -> None:
        values = iter(flags)
        for name, a in applications:
            if a.flag is None:
                continue
            trains = bool(np.all(next(values))) is bool(a.trains)
            if trains is not self._by_batch:
                now, wanted = ("training", "inference") if trains else ("inference", "training")
                order = "batch" if self._by_batch else "sequential"
                raise ValueError(
                    f"Layer {name!r} is in {now} mode under the feeds of a batch, and the order {order!r} needs "
                    f"{wanted} mode; feed the flag of training accordingly, or use the other order."
                )

    def _names(self, batch: Any) -> frozenset[str]:
        if not isinstance(batch, Mapping):
            raise TypeError(
                f"`batches` has a batch of type {type(batch).__name__}; for a session each is a feed dict, from "
                "placeholders to arrays."
            )
        try:
            return frozenset(self._graph.as_graph_element(key).name for key in batch)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"A batch feeds what is not in the session's graph: {error}") from error

    def _assign(self, values: list[tuple[Any, Any]]) -> None:
        """Store values in variables; pairs, because reference variables cannot be keys."""
        rest = [(variable.initializer, value) for variable, value in values]
        while rest:
            # Variables that were made from one tensor share what is fed: one after the other.
            now: dict[str, tuple[Any, Any]] = {}
            for op, value in rest:
                now.setdefault(op.inputs[1].name, (op, value))
            self._run([op for op, _ in now.values()], {name: value for name, (_, value) in now.items()})
            done = {op.name for op, _ in now.values()}
            rest = [(op, value) for op, value in rest if op.name not in done]

    def _run(self, fetches: Any, feeds: Any = None) -> Any:
        if hasattr(self._session, "run_step_fn"):
            # A run of a monitored session would count as a step of its hooks.
            return self._session.run_step_fn(lambda step_context: step_context.session.run(fetches, feeds))
        return self._session.run(fetches, feeds)


def _channels_last(values: Any, application: Any) -> np.ndarray[Any, Any]:
    settings = application.settings
    axis = settings.get("axis")
    if axis is None:
        axis = 1 if settings["data_format"] == "NCHW" else -1
    values = np.asarray(values)
    if values.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    return np.moveaxis(values, axis % values.ndim, -1)


def _variables_of(graph: Any) -> dict[str, Any]:
    """The variable objects of a graph by the names of their operations."""
    found = {}
    for key in (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.LOCAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES):
        for variable in graph.get_collection(key):
            for part in variable if hasattr(variable, "as_tensor") and hasattr(variable, "__iter__") else [variable]:
                found[part.op.name] = part
    return found


def _variable_of(tensor: Any, known: Mapping[str, Any]) -> Any:
    """The variable that a tensor is read from, or None."""
    op = tensor.op
    while op.name not in known and op.inputs:
        op = op.inputs[0].op
    return known.get(op.name)


def _problem(layer: Any, variables: list[list[Any]]) -> str | None:
    if layer.problem:
        return f"{layer.problem[0].upper()}{layer.problem[1:]}."
    if layer.settings["renorm"]:
        return "It does batch renormalisation, whose further variables a recalibration does not know."
    if layer.settings["fused"] is None:
        return "Its graph does not say whether it stores the unbiased variance, as where its training was cut off."
    if not all(variables) or any(variable is None for parts in variables for variable in parts):
        return (
            "Its statistics are no variables of the graph, as in a frozen graph; recalibrate the graph and the "
            "checkpoint that it was frozen from."
        )
    return None
