"""What an audit says in words of the batch-norm layers of a graph: forms, modes and decays."""

import math
import re

from ...graphdef.file_scan import FileScan
from ...graphdef.scan import UNSEEN_FLAG
from ...graphdef.view import CALLS, IN_FUNCTION, VARIABLES

_NUMBER = re.compile(r"_\d+$")
# Names of the scopes that contrib's function, its core layers and Keras's give their layers.
_CONTRIB = re.compile(r"BatchNorm(_\d+)?")
_AVERAGE = "ExponentialMovingAverage"


class StructureScan(FileScan):
    """The batch-norm layers of a graph from a file, with what an audit says of them in words."""

    def form_of(self, application):
        """In words, how an application is written, and by which function as far as names say it."""
        pattern = application.patterns[0]
        written = "composed operations" if pattern.data_format is None else f"the fused operation {pattern.op.type}"
        return written, self._maker(application)

    def _maker(self, application):
        name = application.mean.name
        scope, _, last = name.rpartition("/")
        last = _NUMBER.sub("", last)
        if _AVERAGE in name:
            return "tf.nn.batch_normalization by hand, with ExponentialMovingAverage"
        if last not in ("moving_mean", "running_mean"):
            own = "batchnorm" in application.patterns[0].op.name  # the scope that tf.nn.batch_normalization opens
            return "tf.nn.batch_normalization by hand" if own else None
        if _CONTRIB.fullmatch(scope.rpartition("/")[2]):
            return "tf.contrib.layers.batch_norm"
        if scope.rpartition("/")[2].startswith("batch_normalization"):
            return "tf.keras" if application.mean.type == "VarHandleOp" else "tf.layers.batch_normalization"
        return None

    def flag_words(self, application):
        """``is_training`` of an application: (kind, name of the tensor or None, its default or None).

        The kind is "constant", "placeholder", "placeholder with a default", "variable" or "computed".
        """
        tensor = application.flag
        if tensor is None:
            kind = "unknown" if application.problem in (UNSEEN_FLAG, IN_FUNCTION) else "constant"
            return kind, None, bool(application.trains)
        op = tensor.op
        if op.type == "PlaceholderWithDefault":
            default = self.static(op.inputs[0])
            known = default is not None and default.size == 1
            return "placeholder with a default", tensor.name, bool(default.ravel()[0]) if known else None
        if op.type == "Placeholder":
            return "placeholder", tensor.name, None
        if op.type == "Const":
            value = self.static(tensor)
            return "constant", tensor.name, bool(value.ravel()[0]) if value is not None and value.size == 1 else None
        if self.variable(tensor) is not None:
            return "variable", self.variable(tensor).name, None
        return "computed", tensor.name, None

    def decay_words(self, application, steps):
        """The decay of an application: (kind, value or None, name or None).

        The kind is "constant", "variable", "placeholder", "schedule" (it depends on one of the variables ``steps``),
        "computed" or "unknown", where nothing updates the statistics.
        """
        decay = application.settings["decay"]
        if decay is not None:
            return "constant", decay, None
        rate = application.rate
        if rate is None:
            return "unknown", None, None
        names, stack, seen = [], [rate.op], set()
        while stack and len(seen) < self.most_roots:
            op = stack.pop()
            if op.name in seen:
                continue
            seen.add(op.name)
            if op.type in VARIABLES or op.type.startswith("Placeholder"):
                names.append(op)
            stack.extend(tensor.op for tensor in op.inputs)
        for op in names:
            if op.name in steps:
                return "schedule", None, op.name
        for op in names:
            return ("placeholder" if op.type.startswith("Placeholder") else "variable"), None, op.name
        return "computed", None, rate.name

    def in_function(self, application):
        """Whether an application is hidden in a function that stays closed."""
        return application.inputs is None or any(op.type in CALLS for op in application.touched)


def epsilons_differ(first, second):
    """Whether two epsilons differ by more than the floor of the fused kernel explains."""
    if first is None or second is None:
        return False
    low, high = sorted((first, second))
    return not (math.isclose(low, high, rel_tol=1e-6) or high <= 1.0011e-5)
