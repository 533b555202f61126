"""What the rules ask about a graph and about one of its layers."""

import dataclasses
import re
from typing import Any

from ...graphdef.files.sources import Source
from ...graphdef.patterns import Update
from ...graphdef.scan import UNSEEN_FLAG
from ...graphdef.training import Training
from .layers import StructureScan
from .setting_rules import horizon

# So many layers are looked for that are updated while another is not.
_MOST_OTHERS = 8
# Tools that fold constants append to their names.
_MEAN = re.compile(r"/(?:moving|running)_mean(?:_\d+)?(?:/read(?:/.*)?)?$")


@dataclasses.dataclass
class LayerFacts:
    """A layer of a graph.

    Attributes:
      name: the scope of its variables.
      applications: list of `model.Application`, with what `layers.StructureScan` adds; closed ones are left out.
      closed: those that are hidden in functions.
      mean, variance: the operations of the statistics' variables, or of the constants in their place; or None.
      updates, writers: by "mean" and "variance" the list of `patterns.Update`, and of all operations that write.
      parameters: names of gamma's and beta's variables.
      decay: (kind, value, name), see `StructureScan.decay_words`.
      epsilon: the first application's, or None.
      data_format: the first application's.
      form, maker: see `StructureScan.form_of`.
      trainable: whether gamma or beta is trainable; None if that cannot be seen.
      flags: of each application (kind, name, default), see `StructureScan.flag_words`.
    """

    name: str
    applications: list
    closed: list
    mean: Any
    variance: Any
    updates: dict
    writers: dict
    parameters: list
    decay: tuple
    epsilon: float | None
    data_format: str | None
    form: str | None
    maker: str | None
    trainable: bool | None
    flags: list

    @property
    def never_trains(self):
        """Whether each application is in inference mode for good."""
        return all(one.flag is None and one.trains is False and not is_unseen(one) for one in self.applications)

    @property
    def tests_by_default(self):
        """The name of the placeholder by whose default False the layer tests, or None."""
        for kind, name, default in self.flags:
            # Keras feeds its own in each step.
            if kind == "placeholder with a default" and default is False and "keras_learning_phase" not in name:
                return name
        return None

    def trained_by(self, training):
        """Whether a train op runs an application of the layer."""
        return any(training.reaching(one.outputs.op) for one in self.applications)


class GraphFacts:
    """A graph, its layers and what it trains.

    Args:
      source: a `files.sources.Source`.
      train_op: names of the operations that a training step asks for, or None.

    Attributes:
      source, scan, training: the `Source`, the `layers.StructureScan` and the `training.Training`.
      layers: list of `LayerFacts`.
      collections: dict from names of collections to sets of names of operations.
      signatures: list of (name, (inputs, outputs), names of all operations that a call runs).
      steps: names of the variables that count steps.
      horizon: see `setting_rules.horizon`.
      saved: names of the variables that a Saver of the graph saves; savers: names of its operations.
    """

    def __init__(self, source: Source, train_op=None):
        self.source, self.scan, self._decided = source, StructureScan(source), {}
        self.training = Training(source, self.scan, train_op)
        self.collections = {
            name: {op.name for op in source.collection(name)} for name in source.collections if name != "train_op"
        }
        self.signatures = []
        for name, ends in source.signatures.items():
            ops = [op for op in map(source.graph.find, ends[1]) if op is not None]
            if ops and not name.startswith("__"):
                self.signatures.append((name, ends, self.training.before(ops)))
        self.steps = {name for name in self.scan.variables if name.rpartition("/")[2] == "global_step"}
        self.horizon = horizon(self.scan, self.steps)
        self.saved, self.savers = self._saved()
        self._names = set()
        self.layers = [self._layer(layer) for layer in self.scan.layers]

    def _layer(self, layer):
        scan = self.scan
        applications = [one for one in layer.applications if not scan.in_function(one)]
        closed = [one for one in layer.applications if scan.in_function(one)]
        first = applications[0] if applications else None
        mean, variance = layer.applications[0].statistic, first.variance if first else None
        statistics = {"mean": mean, "variance": variance}
        form, maker = scan.form_of(first) if first else (None, None)
        deciding = next((one for one in applications if one.trains or one.flag is not None), first)
        named = [self.variable(tensor) for p in (first.patterns if first else ()) for tensor in (p.gamma, p.beta)]
        parameters = list(dict.fromkeys(op.name for op in named if op is not None and op.type != "Const"))
        known = self.source.trainable is not None and parameters
        updates = {role: scan.updates_of(op) if op is not None else [] for role, op in statistics.items()}
        writers = {role: scan.writers_of(op) if op is not None else [] for role, op in statistics.items()}
        if layer.settings["renorm"] and not updates["variance"]:
            # Renormalisation assigns the variance that it makes of a moving deviation.
            updates["variance"] = [Update(op, variance, [], None) for op in writers["variance"]]
        return LayerFacts(
            self._name(layer.name),
            applications,
            closed,
            mean,
            variance,
            updates,
            writers,
            parameters,
            scan.decay_words(deciding, self.steps) if deciding else ("unknown", None, None),
            first.settings["epsilon"] if first else None,
            first.settings["data_format"] if first else None,
            form,
            maker,
            any(name in self.source.trainable for name in parameters) if known else None,
            [scan.flag_words(one) for one in applications],
        )

    def callers_of(self, layer):
        """The operations that take a statistic of a layer into a function that stays closed."""
        statistics = [op for op in (layer.mean, layer.variance) if op is not None]
        return [caller for op in statistics for caller in self.scan.callers_of(op)]

    def _name(self, name):
        """The name of a layer without the name of its statistic, where no other layer has that."""
        shorter = _MEAN.sub("", name)
        name = name if shorter in self._names else shorter
        self._names.add(name)
        return name

    def variable(self, tensor):
        """The operation of the variable whose value a tensor is, or None."""
        return None if tensor is None else self.scan.variable(tensor)

    def updated_layers(self, training):
        """The names of the layers whose statistics a train op updates, though their outputs do not depend on that."""
        found = []
        for layer in self.layers:
            reached = [[one.op for one in ops if training.reaching(one.op)] for ops in layer.updates.values()]
            if len(found) == _MOST_OTHERS or not layer.applications or not all(reached):
                continue
            in_place = training.before([one.outputs.op for one in layer.applications])
            if not any(op.name in in_place for ops in reached for op in ops):
                found.append(layer.name)
        return found

    def is_guarded(self, update, flag):
        """Whether an update does nothing where a flag says that the layer tests: it is in a cond, or its rate is 0."""
        if any(name == flag.name for name, _ in self.scan.guards(update.op)):
            return True
        return self._decides(flag.op.name, update)

    def _decides(self, flag, update):
        """Whether the rate or the new value of an update depends on the operation of a flag."""
        key = (flag, update.op.name)
        if key not in self._decided:
            self._decided[key] = self._depends(flag, update)
        return self._decided[key]

    def _depends(self, flag, update):
        seen, stack = set(), [update.op.inputs[1].op]
        while stack:
            op = stack.pop()
            if op.name == flag:
                return True
            if op.name not in seen:
                seen.add(op.name)
                if op.type in ("Mul", "Sub", "Merge", "Switch", "Select", "SelectV2", "Identity", "Cast", "Where"):
                    stack.extend(tensor.op for tensor in op.inputs)
                elif op.type == "Const":
                    # One in a tf.cond of TF 1.x waits for the way that the cond goes.
                    stack.extend(op.control_inputs)
        return False

    def is_guarded_by(self, layer, predicate):
        """Whether the updates of a layer depend on the tensor that a cond asks for."""
        name = predicate.partition(":")[0]
        return all(self._decides(name, update) for ops in layer.updates.values() for update in ops)

    def _saved(self):
        """The names of the variables that are saved, and of the operations that save."""
        saved, savers = set(), []
        for op in self.source.graph.get_operations():
            if op.type in ("SaveV2", "SaveSlices", "Save"):
                savers.append(op.name)
                for tensor in op.inputs[2:]:
                    variable = self.scan.variable(tensor)
                    if variable is not None and variable.type != "Const":
                        saved.add(variable.name)
        return saved, savers


def is_unseen(application):
    """Whether what decides about the mode of an application cannot be seen."""
    return application.flag is None and (application.trains is None or application.problem == UNSEEN_FLAG)
