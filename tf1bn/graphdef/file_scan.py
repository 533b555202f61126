"""The batch norms of a graph from a file, frozen or not: what is stored of each, and all that writes there."""

import collections
import re

import numpy as np

from ..variable_names import role_of
from .files import attributes
from .model import layers_of
from .scan import Scan
from .view import FIXED, MERGES, NORMS, PASSES, SWITCHES, VARIABLES, closes_loop, depth_behind

_RESTORES = ("RestoreV2", "Restore", "RestoreSlice")
_FOLDED = re.compile(
    r"(?P<layer>.*?)/?(batchnorm(_\d+)?/(mul|sub|Rsqrt)(_\d+)?(/_.*)?|FusedBatchNorm\w*/(Scaled|Offset))", re.DOTALL
)
# Parts of an operation's name that its layer does not have.
_INNER = re.compile(
    r"(/|^)(batchnorm(_\d+)?|cond(_\d+)?|_?FusedBatchNorm\w*|Rsqrt(_\d+)?|add(_\d+)?|batch_?normalization_op)$"
)
_NORM = re.compile(r"batchnorm|FusedBatchNorm")


class FileScan(Scan):
    """The batch-norm layers of a graph from a file.

    Args:
      source: a `files.sources.Source`.

    Attributes:
      layers: a list of `model.GraphLayer`, whose applications have more attributes: `patterns`, a list of
        `patterns.BatchNormPattern`, and `mean` and `variance`, operations of variables or constants.
      bare: a list of patterns without moving statistics, in training mode, that have a gamma or beta of their own.
      folded: names of layers that a converter folded into other operations.
    """

    most_roots = 2**12

    def __init__(self, source):
        self._static, self._roots, self._patterns, self.bare = {}, {}, {}, []
        self._writers = self._by_average = None
        super().__init__(source.graph, attributes.array, source.trainable or ())
        self._flat = not any(op.type in SWITCHES or op.type in ("Enter", "RefEnter") for op in self._operations)
        self._take_constants()
        self.layers = self._named(layers_of(self.applications()))
        self.folded = self._folded()

    def depth(self, op):
        """See `view.GraphView.depth`; goes through the graph once."""
        if self._flat:
            return 0
        if not self._depths:
            self._fill_depths()
        return self._depths[op.name]

    def _fill_depths(self):
        find, depths, together = self.graph.get_operation_by_name, self._depths, {}
        for name in self.graph.order:
            op, depth = find(name), 0
            for text in op.node.inputs:
                # The end of a loop, which leads back to its beginning, has no depth yet.
                around = depths.get(text, -1)
                depth = max(depth, around if around >= 0 else depths.get(text.partition(":")[0], 0))
            if op.group is not None:
                if op.group not in together:
                    together[op.group] = max(depths[name] for name in op.group.names)
                depth = max(depth, together[op.group])
            depths[name] = depth_behind(op, depth)

    def static(self, tensor):
        """See `view.GraphView.static`; None for what is no small array of numbers too."""
        op = tensor.op
        while op.type in PASSES + SWITCHES:
            op = op.inputs[0].op
        if op.type != "Const":
            return None
        if op.name not in self._static:
            value = self._make_ndarray(op.get_attr("value"))
            self._static[op.name] = None if value is None else np.asarray(value)
        return self._static[op.name]

    def roots(self, tensor):
        """See `view.GraphView.roots`; looks for those of each tensor once."""
        key = (tensor.op.name, tensor.value_index)
        if key not in self._roots:
            self._roots[key] = super().roots(tensor)
        return self._roots[key]

    def pattern(self, op):
        """See `patterns.PatternFinder.pattern`; looks for that of each operation once."""
        if op.name not in self._patterns:
            self._patterns[op.name] = super().pattern(op)
        return self._patterns[op.name]

    def _take_constants(self):
        """Take the constants in the place of variables for such, where a graph was frozen."""
        for op in self._operations:
            if op.type == "Const":
                if (role_of(op.name) or ("", "", ""))[1] in ("mean", "variance"):
                    self.variables.setdefault(op.name, op)
                continue
            pattern = self.pattern(op) if op.type in NORMS else None
            roots = [root.op for means in pattern.means for root, _ in means] if pattern is not None else []
            if any(root.type == "Const" for root in roots):
                roots += [self.stored(tensor) for tensor in (pattern.gamma, pattern.beta) if tensor is not None]
                for root in roots:
                    if root is not None and root.type == "Const":
                        self.variables.setdefault(root.name, root)

    def stored(self, tensor):
        """The operation of the constant or variable whose value a tensor is; None if it is computed."""
        roots = {root.op.name: root.op for root, _ in self.roots(tensor)}
        op = next(iter(roots.values()))
        return op if len(roots) == 1 and op.type in (*FIXED, *VARIABLES) else None

    def _named(self, layers):
        """``layers``, those of which constants are left whose names say nothing with the names of their scopes."""
        taken = {layer.name for layer in layers}
        for layer in layers:
            first = layer.applications[0]
            if first.statistic.type == "Const" and role_of(first.statistic.name) is None:
                scope = scope_of(first.outputs.op.name)
                numbered = (f"{scope}_{number}" for number in range(1, len(taken) + 1))
                layer.name = scope if scope not in taken else next(name for name in numbered if name not in taken)
                taken.add(layer.name)
        return layers

    def _folded(self):
        likely = [op.name for op in self._operations if op.type == "Const" and _NORM.search(op.name)]
        names = (match["layer"] for name in likely if (match := _FOLDED.fullmatch(name)))
        known = {layer.name for layer in self.layers}
        return sorted({name for name in names if name} - known)

    def _application(self, patterns, x, y, paired):
        application = super()._application(patterns, x, y, paired)
        if application is None:
            training = [pattern for pattern in patterns if self.normalises_by_the_batch(pattern)]
            self.bare += [pattern for pattern in training if self._own_parameter(pattern)]
            return None
        application.patterns, application.mean = patterns, application.statistic
        return application

    def _merge_after(self, y):
        """See `scan.Scan._merge_after`; what a function returns goes through operations that pass it on."""
        waiting, seen = [y], set()
        while waiting:
            for op in waiting.pop().consumers():
                if op.type in MERGES and not closes_loop(op):
                    return op
                if op.type == "Identity" and op.name not in seen:
                    seen.add(op.name)
                    waiting.append(op.outputs[0])
        return None

    def _merged(self, tensor):
        """See `scan.Scan._merged`; likewise."""
        while tensor.op.type == "Identity":
            tensor = tensor.op.inputs[0]
        return tensor

    def normalises_by_the_batch(self, pattern):
        """Whether a pattern is in training mode: fused, or made of a mean over axis 0 and others of its input."""
        if pattern.fused:
            return bool(pattern.op.get_attr("is_training"))
        axes, problem = self.axes_of(pattern, pattern.means[0])
        return problem is None and 0 not in axes

    def _own_parameter(self, pattern):
        for tensor, role in ((pattern.gamma, "gamma"), (pattern.beta, "beta")):
            for root, _ in self.roots(tensor) if tensor is not None else ():
                named = role_of(root.op.name) if root.op.type in (*VARIABLES, "Const") else None
                if named and named[1] == role:
                    return True
        return False

    def updates_of(self, statistic):
        """The `patterns.Update` of a moving average, given its variable's operation, also by way of zero-debiasing."""
        if self._by_average is None:
            self._by_average = collections.defaultdict(list)
            for updates in self._updates_of.values():
                if updates:
                    self._by_average[self._average(updates[0].variable).name] += updates
        return self._by_average.get(statistic.name, [])

    def writers_of(self, variable):
        """The operations that write a variable, without what initializes or restores it."""
        if self._writers is None:
            self._writers = collections.defaultdict(list)
            for op in self._operations:
                if not op.type.startswith("Assign") or len(op.inputs) < 2:
                    continue
                target = self.variable(op.inputs[0])
                if target is not None and not self._begins(op, target):
                    self._writers[target.name].append(op)
        return self._writers.get(variable.name, [])

    def _begins(self, op, target):
        """Whether an assignment initializes or restores its variable."""
        if op.type not in ("Assign", "AssignVariableOp"):
            return False
        source = op.inputs[1].op
        while source.type in PASSES:
            source = source.inputs[0].op
        return op.name.startswith(f"{target.name}/") or source.type in _RESTORES or "nitializer" in source.name

    def guards(self, op):
        """The conds of TF 1.x that an operation is in: a set of (name of the predicate, way)."""
        found, stack, seen = set(), [op], set()
        while stack:
            top = stack.pop()
            if top.name in seen or not self.depth(top):
                continue
            seen.add(top.name)
            for tensor in top.inputs:
                if tensor.op.type in SWITCHES and not closes_loop(tensor.op.inputs[0].op):
                    found.add((self._plain(tensor.op.inputs[1]).name, tensor.value_index))
                    stack.append(tensor.op)
                elif tensor.op.type not in MERGES:
                    stack.append(tensor.op)
            stack.extend(top.control_inputs)
        return found


def scope_of(name):
    """The scope of a layer from the name of an operation in it."""
    before = None
    while name and name != before:
        before, name = name, _INNER.sub("", name)
    return name or before
