"""Parity as a test: an old-style graph and its port run on the same batches, and the cause is in the failure's message.

    from tf1bn.testing import assert_parity

    def original(x, is_training):  # the old model, on placeholders
        return tf1bn.batch_norm(x, decay=0.9, is_training=is_training, scope="bn1")

    def test_the_port():
        model = ...  # the new one, of PyTorch or Keras
        assert_parity(original, model, batches, training=[True, True, True, False])

Nothing here imports another framework, nor pytest.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import trace
from .._util import files, strict_json
from ..parity.traces import compare, run_level
from ..parity.verdict import rejudge
from ..reports import parity as report
from ..reports.layers.grouping import worst_first
from ..results import Result
from ..trace.views import TraceView
from ..verdicts import FINDING, OK
from . import originals, ports
from .models import framework_of, record_model

SHOWN_LAYERS = 10  # in a message
INPUT_ERROR = 1e-5  # of layer inputs that are taken from the original, in units of their root mean square


def assert_parity(
    original: Callable[[Any, Any], Any] | str | os.PathLike[str],
    port: ports.Port | Any,
    batches: Iterable[npt.ArrayLike],
    *,
    training: bool | Sequence[bool] = True,
    variables: Mapping[str, npt.ArrayLike] | None = None,
    load: Callable[[dict[str, npt.NDArray[Any]]], object] | None = None,
    mapping: Mapping[str, str | None] | None = None,
    data_format: str | None = None,
    rtol: float = 1e-4,
    input_error: float = INPUT_ERROR,
    keep: str | os.PathLike[str] | None = None,
) -> Result:
    """Fail with the cause unless a port does what the original does, on these batches, in training and in inference.

    Args:
      original: ``original(x, is_training)`` builds the old model on a placeholder for the batches (with any batch size)
        and one for the flag, in a graph of its own, and returns its output tensor. Its layers are those of tf1bn, or
        others that `tf1bn.Recorder` finds. The operations in UPDATE_OPS are run in training. Or the path of a trace of
        the old model on these batches, as docker/tf1/record_tf1.py writes it; then only the layers are compared.
      port: a `torch.nn.Module` or a Keras model, whose layers are recorded. PyTorch gets batches of rank 3 or more with
        the channels on axis 1, unless `data_format` is "NHWC". Or ``port(batch, training)``, which runs the new model,
        in any framework, on a NumPy array, and returns its output and what its batch-norm layers hold afterwards, both
        as NumPy arrays: a dict from layer names to dicts with "moving_mean" and "moving_variance", and, if they are at
        hand, "gamma" and "beta", and "inputs" and "outputs" of this call. With inputs and outputs every layer is judged
        on what it was given; without, on what the original's was given, up to `input_error`.
      batches: the arrays that both get, in this order.
      training: whether a batch trains: one bool for all, or one for each.
      variables: None, or dict from names of the original's variables ("bn1/gamma") to the values they start with.
      load: None, or called before the port's first batch with such a dict of all the original's variables, as they were
        at its start, to copy them into the port.
      mapping: which layer of the original is which of the port, as in ``tf1bn parity --map``; None: by name and guess.
      data_format: that of the port's inputs, "NHWC" or "NCHW"; None: that of the original's layer.
      rtol: how far the port's output can be from the original's, relative to its largest value.
      input_error: see `port`; a root mean square, in units of that of the inputs.
      keep: None, or a folder to leave the two traces and parity.json in.

    Returns:
      the `Result` as `parity.compare_traces` gives it, with "output_error": the largest difference of the outputs,
      relative to the original's largest value; None with a trace.

    Raises:
      AssertionError: the port differs, or it cannot be decided whether it does; the message names layers and causes.
      TypeError, ValueError: an argument, or what `original` or `port` returns, is not as above.
    """
    __tracebackhide__ = True  # of pytest: the message says what is wrong, and these lines do not
    arrays = ports.checked_batches(batches)
    if not arrays:
        raise ValueError("`batches` is empty; give at least one batch.")
    flags = ports.checked_flags(training, arrays)
    recorded = isinstance(original, (str, os.PathLike))
    if not recorded:
        ports.check_two_arguments("original", original, "(x, is_training)")
    elif variables is not None or load is not None:
        raise ValueError("`variables` and `load` are for an original that is built here; `original` is a trace.")
    if framework_of(port) is None:
        ports.check_two_arguments("port", port, "(batch, training)")
    with tempfile.TemporaryDirectory() as folder:
        if keep is not None:
            os.makedirs(keep, exist_ok=True)
            folder = os.fspath(keep)
        old_path, new_path = os.path.join(folder, "original.trace"), os.path.join(folder, "port.trace")
        expected = None
        if not recorded:
            expected = originals.record_original(original, arrays, flags, variables, load, old_path)
        old = trace.open(original if recorded else old_path)
        if old.count_steps() != len(arrays):
            raise ValueError(
                f"`original` has {old.count_steps()} steps, and `batches` are {len(arrays)}; they must fit."
            )
        if framework_of(port) is None:
            run = ports.record_beside(port, arrays, flags, old, new_path, mapping=mapping, data_format=data_format)
        else:
            run = ports.PortRun(record_model(port, arrays, flags, new_path, data_format=data_format), True, [])
        outputs = Outputs.of(run.outputs, expected, flags, rtol)
        result = _compare(old, trace.open(new_path), run, mapping, input_error)
        result["output_error"] = None if recorded else max(outputs.errors)
        if keep is not None:
            files.write_file(os.path.join(folder, "parity.json"), strict_json.to_json(result).encode(), "keep")
    message = _message(result, outputs, run.gave_inputs)
    if message is not None:
        raise AssertionError(message)
    return result


def _compare(old, new, run, mapping, input_error):
    """The result of a comparison of the original's trace with that of a `ports.PortRun`."""
    if not run.gave_inputs:
        new = TraceView(new, fields={"input_error": input_error})
    result = compare.compare_traces(old, new, mapping, only=None if run.gave_inputs else "training")
    if not run.unrecorded:
        return result
    unmatched = [run_level.unmatched(None, name) for name in run.unrecorded]
    return rejudge({**result, "layers": [*result["layers"], *unmatched]})


@dataclasses.dataclass(frozen=True)
class Outputs:
    """How far the port's output for each batch is from the original's.

    Attributes:
      errors: one per batch, relative to the largest value of the original's output; 0 where there is none.
      flags: whether each batch trained.
      rtol: the largest error that is allowed.
    """

    errors: list
    flags: list
    rtol: float

    @classmethod
    def of(cls, outputs, expected, flags, rtol):
        """Compares lists of outputs, one per batch; ``expected``: None if the original's are not known."""
        if expected is None:
            return cls([0.0] * len(outputs), flags, rtol)
        pairs = zip(outputs, expected, strict=True)
        return cls([relative_distance(output, wanted, i) for i, (output, wanted) in enumerate(pairs)], flags, rtol)

    @property
    def outside(self):
        """The indices of the batches with a larger error than is allowed."""
        return [i for i, error in enumerate(self.errors) if not error <= self.rtol]

    def in_words(self):
        """A sentence on the batches outside."""
        outside = self.outside
        worst = max(outside, key=lambda i: self.errors[i])
        kind = "training" if self.flags[worst] else "inference"
        if not math.isfinite(self.errors[worst]):
            return (
                f"The outputs cannot be compared in {len(outside)} of {len(self.errors)} batches, as in batch {worst} "
                f"({kind}): they contain NaN or infinity."
            )
        return (
            f"The outputs differ in {len(outside)} of {len(self.errors)} batches, most in batch {worst} ({kind}): by "
            f"{self.errors[worst]:.3g} of the largest value, where `rtol` allows {self.rtol:g}."
        )


def relative_distance(output, expected, i):
    """The largest difference of two outputs for batch ``i`` relative to the largest value of the expected one.

    Inf if one of them holds NaN or infinity: equal NaN show nothing, and beside infinity any difference is small.

    Raises:
      AssertionError: their shapes differ.
    """
    if output.shape != expected.shape:
        raise AssertionError(
            f"The port's output for batch {i} has shape {output.shape}, the original's has {expected.shape}."
        )
    output, expected = output.astype(np.float64), expected.astype(np.float64)
    if not (np.isfinite(output).all() and np.isfinite(expected).all()):
        return math.inf
    with np.errstate(over="ignore"):
        largest = np.max(np.abs(output - expected), initial=0.0)
    return float(largest / (np.max(np.abs(expected), initial=0.0) or 1.0))


def _message(result, outputs, gave_inputs):
    """Why this is no parity, or None."""
    if result["ok"] and not outputs.outside:
        return None
    lines = []
    wrong = sorted((layer for layer in result["layers"] if layer["verdict"] != OK), key=worst_first)
    if wrong or result["problems"]:
        lines.append(report.headline(result))
    for layer in wrong[:SHOWN_LAYERS]:
        names = ", ".join(cause["id"] for cause in layer["causes"]) or layer["verdict"]
        first = " (diverges first)" if layer.get("first") else ""
        lines.append(f"  {report.matched_names(layer)}{first}: {names}. {report.explanation(layer)}")
    if len(wrong) > SHOWN_LAYERS:
        lines.append(f"  and {len(wrong) - SHOWN_LAYERS} more layers; `keep` leaves the traces for `tf1bn parity`.")
    lines += [f"  {problem}" for problem in result["problems"]]
    if not gave_inputs and any(cause["id"] == "unexplained" for layer in wrong for cause in layer["causes"]):
        lines.append(
            'The port gives no "inputs" of its layers, so each is judged on those of the original: what is unexplained '
            "may have begun between this layer and the one before."
        )
    if outputs.outside:
        text = outputs.in_words()
        if not any(layer["verdict"] == FINDING for layer in result["layers"]):
            text += " The moving statistics of all layers are as the original's."
            if not gave_inputs:
                text += ' To see which layer it is, have `port` give "inputs" and "outputs" of its layers.'
        lines.append(text)
    return "\n".join(lines)
