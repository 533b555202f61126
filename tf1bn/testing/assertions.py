"""Parity as a test: an old-style graph and its port run on the same batches, and the cause is in the failure's message.

    from tf1bn.testing import assert_parity

    def original(x, is_training):  # the old model, on placeholders
        return tf1bn.batch_norm(x, decay=0.9, is_training=is_training, scope="bn1")

    def port(batch, training):  # the new one, on NumPy arrays
        y = model(batch, training=training)
        bn = model.get_layer("bn1")
        return np.asarray(y), {"bn1": {"moving_mean": np.asarray(bn.moving_mean), "moving_variance": ...}}

    def test_the_port():
        assert_parity(original, port, batches, training=[True, True, True, False])

Nothing here imports another framework, nor pytest.
"""

import inspect
import math
import os
import tempfile

import numpy as np

from .. import trace
from .._util import files, strict_json
from ..parity.traces import compare as parity
from ..parity.traces import run_level as parityplaces
from ..reports import parity as parityreport
from ..verdicts import FINDING

INPUT_ERROR = 1e-5  # of layer inputs that are taken from the original, in units of their root mean square
KEYS = ("moving_mean", "moving_variance", "gamma", "beta", "inputs", "outputs", "moving_mean_before")
KEYS += ("moving_variance_before",)


def assert_parity(
    original,
    port,
    batches,
    *,
    training=True,
    variables=None,
    load=None,
    mapping=None,
    data_format=None,
    rtol=1e-4,
    input_error=INPUT_ERROR,
    keep=None,
):
    """Fail with the cause unless a port does what the original does, on these batches, in training and in inference.

    Args:
      original: ``original(x, is_training)`` builds the old model on a placeholder for the batches (with any batch size)
        and one for the flag, in a graph of its own, and returns its output tensor. Its layers are those of tf1bn, or
        others that `tf1bn.Recorder` finds. The operations in UPDATE_OPS are run in training. Or the path of a trace of
        the old model on these batches, as docker/tf1/record_tf1.py writes it; then only the layers are compared.
      port: ``port(batch, training)`` runs the new model, in any framework, on a NumPy array, and returns its output and
        what its batch-norm layers hold afterwards, both as NumPy arrays: a dict from layer names to dicts with
        "moving_mean" and "moving_variance", and, if they are at hand, "gamma" and "beta", and "inputs" and "outputs" of
        this call. With inputs and outputs every layer is judged on what it was given; without, on what the original's
        was given, up to `input_error`.
      batches: the arrays that both get, in this order.
      training: whether a batch trains: one bool for all, or one for each.
      variables: None, or dict from names of the original's variables ("bn1/gamma") to the values they start with.
      load: None, or called before the first batch with such a dict of all the original's variables, to copy them into
        the port.
      mapping: which layer of the original is which of the port, as in ``tf1bn parity --map``; None: by name and guess.
      data_format: that of the port's inputs, "NHWC" or "NCHW"; None: that of the original's layer.
      rtol: how far the port's output can be from the original's, relative to its largest value.
      input_error: see `port`; a root mean square, in units of that of the inputs.
      keep: None, or a folder to leave the two traces and parity.json in.

    Returns:
      the result as `parity.compare_traces` gives it, with "output_error": the largest difference of the outputs,
      relative to the original's largest value; None with a trace.

    Raises:
      AssertionError: the port differs, or it cannot be decided whether it does; the message names layers and causes.
      TypeError, ValueError: an argument, or what `original` or `port` returns, is not as above.
    """
    batches = [_batch(batch, i) for i, batch in enumerate(batches)]
    if not batches:
        raise ValueError("`batches` is empty; give at least one batch.")
    flags = _flags(training, batches)
    recorded = isinstance(original, (str, os.PathLike))
    if not recorded:
        _two_arguments("original", original)
    elif variables is not None or load is not None:
        raise ValueError("`variables` and `load` are for an original that is built here; `original` is a trace.")
    _two_arguments("port", port)
    with tempfile.TemporaryDirectory() as folder:
        if keep is not None:
            os.makedirs(keep, exist_ok=True)
            folder = os.fspath(keep)
        old_path, new_path = os.path.join(folder, "original.trace"), os.path.join(folder, "port.trace")
        outputs = [None] * len(batches)
        if not recorded:
            outputs = _run_original(original, batches, flags, variables, load, old_path)
        old = trace.open(original if recorded else old_path)
        if old.count_steps() != len(batches):
            raise ValueError(
                f"`original` has {old.count_steps()} steps, and `batches` are {len(batches)}; they must fit."
            )
        with_inputs, errors, surplus = _run_port(port, batches, flags, old, outputs, mapping, data_format, new_path)
        new = trace.open(new_path)
        if not with_inputs:
            new = _Roughly(new, input_error)
        found = parity.compare_traces(old, new, mapping, only=None if with_inputs else "training")
        if surplus:
            extra = [parityplaces.unmatched(None, name) for name in surplus]
            found = parity.rejudge({**found, "layers": [*found["layers"], *extra]})
        found["output_error"] = None if recorded else max(errors)
        if keep is not None:
            files.write_file(os.path.join(folder, "parity.json"), strict_json.to_json(found).encode(), "keep")
    message = _message(found, errors, flags, rtol, with_inputs)
    if message is not None:
        raise AssertionError(message)
    return found


def _batch(batch, i):
    array = np.asarray(batch)
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise TypeError(f"`batches` has {type(batch).__name__} in place {i}; it must hold arrays of numbers.")
    return array


def _two_arguments(name, function):
    if not callable(function):
        raise TypeError(f"`{name}` is {function!r}; it must be a function.")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        wanted = "(x, is_training)" if name == "original" else "(batch, training)"
        raise TypeError(f"`{name}` must take two arguments, {wanted}: {error}.") from None
    except ValueError:
        pass  # a function of C says nothing about its arguments


def _run_original(original, batches, flags, variables, load, path):
    """Record the original; its output for every batch."""
    import tensorflow as tf

    from ..recorders.session import Recorder

    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph:
        x = v1.placeholder(batches[0].dtype, [None, *batches[0].shape[1:]], name="batch")
        flag = v1.placeholder(v1.bool, [], name="is_training")
        output = original(x, flag)
        if not isinstance(output, v1.Tensor):
            raise TypeError(f"`original` returned {type(output).__name__}; it must return the output tensor.")
        updates = graph.get_collection(v1.GraphKeys.UPDATE_OPS)
        known = {variable.op.name: variable for variable in v1.global_variables()}
        for name in variables or {}:
            if name not in known:
                raise ValueError(f"`variables` has {name!r}, which the original has not; it has {', '.join(known)}.")
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            for name, value in (variables or {}).items():
                known[name].load(value, session)
            if load is not None:
                load(session.run(known))
            with Recorder(session, path, overwrite=True) as recorder:
                return [
                    recorder.run([output, updates if trains else []], {x: batch, flag: trains})[0]
                    for batch, trains in zip(batches, flags, strict=True)
                ]


def _run_port(port, batches, flags, old, outputs, mapping, data_format, path):
    """Write the port's trace; whether its layers gave their inputs, how far off its outputs are, and the layers that no
    trace can hold: without inputs of their own or of a counterpart.
    """
    errors, last, with_inputs, surplus = [], {}, None, {}
    with trace.Writer(path, overwrite=True, producer="tf1bn.testing") as writer:
        for i, (batch, trains, expected, step) in enumerate(zip(batches, flags, outputs, old, strict=True)):
            output, layers = _returned(port(batch.copy(), trains))
            errors.append(0.0 if expected is None else _distance(output, expected, i))
            partners, records = _partners(layers, step, mapping), {}
            for name, given in layers.items():
                record = _record(name, given)
                partner = step.layers.get(partners.get(name))
                has = "inputs" in record
                if with_inputs is not None and has != with_inputs:
                    raise ValueError(f"`port` gives inputs of some layers and not of {name!r}; give all or none.")
                with_inputs = has
                settings = {"data_format": data_format if has else None, "axis": None}
                if partner is not None and settings["data_format"] is None:
                    settings = {"data_format": partner.layer.data_format, "axis": partner.layer.axis}
                if not has:
                    if partner is None:
                        surplus[name] = None
                        continue
                    record.update(inputs=list(partner.inputs), training=list(partner.training))
                    record.pop("outputs", None)
                records[name] = _before(record, last.get(name), partner)
                last[name] = record
                writer.add_layer(name, _declared(record, has, **settings))
            writer.add_step(records, training=trains)
    return bool(with_inputs), errors, [name for name in surplus if name not in last]


def record_port(port, batches, path, *, training=True, data_format="NHWC", overwrite=False, producer=None, **settings):
    """Write the trace of a port, for ``tf1bn parity``.

    Args:
      port: as for `assert_parity`; it must give "inputs" of its layers. Statistics start from (0, 1) unless it gives
        "moving_mean_before" and "moving_variance_before".
      batches, training, data_format: as for `assert_parity`.
      path, overwrite, producer: as for `trace.Writer`.
      settings: what the port declares of all its layers, as for `trace.Layer`: decay, epsilon, fused, ...

    Raises:
      TypeError, ValueError, FileExistsError: an argument, or what `port` returns, is not as above.
    """
    batches = [_batch(batch, i) for i, batch in enumerate(batches)]
    _two_arguments("port", port)
    last = {}
    with trace.Writer(path, overwrite=overwrite, producer=producer) as writer:
        for batch, trains in zip(batches, _flags(training, batches), strict=True):
            records = {}
            for name, given in _returned(port(batch.copy(), trains))[1].items():
                record = _record(name, given)
                if "inputs" not in record:
                    raise ValueError(f'`port` must give "inputs" of layer {name!r}: a trace holds them.')
                records[name] = _before(record, last.get(name), None)
                last[name] = record
                writer.add_layer(name, _declared(record, True, data_format, **settings))
            writer.add_step(records, training=trains)


def _flags(training, batches):
    flags = [training] * len(batches) if isinstance(training, bool) else list(training)
    if len(flags) != len(batches) or not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(
            f"`training` is {training!r}; it must be a bool, or {len(batches)} of them, one for each batch."
        )
    return flags


def _before(record, last, partner):
    """The record with the statistics before the step: those after the last one, else the original's, else (0, 1)."""
    mean = record["moving_mean_after"]
    start = {"moving_mean_before": np.zeros_like(mean), "moving_variance_before": np.ones_like(mean)}
    if last is not None:
        start = {f"moving_{which}_before": last[f"moving_{which}_after"] for which in ("mean", "variance")}
    elif partner is not None and partner.moving_mean_before.shape == mean.shape:
        start = {key: np.array(getattr(partner, key)) for key in start}
    return {**start, **record}


def _declared(record, has, data_format=None, axis=None, **settings):
    known = {"decay": None, "epsilon": None, "dtype": record["moving_mean_after"].dtype.name}
    if has:
        known.update(scale="gamma" in record, center="beta" in record)
    # A batch of vectors has its channels last in any format.
    return trace.Layer(**{**known, "data_format": data_format or "NHWC", "axis": axis, **settings})


def _returned(value):
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[1], dict):
        raise TypeError(
            f"`port` returned {type(value).__name__}; it must return two things, its output and a dict of its layers."
        )
    return np.asarray(value[0]), value[1]


def _record(name, given):
    """A trace's record of what the port says about a layer."""
    if not isinstance(given, dict) or not {"moving_mean", "moving_variance"} <= given.keys():
        raise TypeError(f'`port` must give "moving_mean" and "moving_variance" of layer {name!r}.')
    unknown = given.keys() - set(KEYS)
    if unknown:
        raise ValueError(f"`port` gives {sorted(unknown)} of layer {name!r}; accepted are {', '.join(KEYS)}.")
    record = {}
    for key, value in given.items():
        if value is None:
            continue
        if key in ("inputs", "outputs"):
            record[key] = [np.array(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
        else:
            record[f"{key}_after" if key in ("moving_mean", "moving_variance") else key] = np.array(value)
    return record


def _partners(layers, step, mapping):
    """The original's layer for each of the port's, by map, name or, if there are as many, order."""
    from ..parity.matching import Face, match

    old = [Face(name, record.moving_mean_before.size) for name, record in step.layers.items()]
    new = [Face(name, np.size(given.get("moving_mean"))) for name, given in layers.items() if isinstance(given, dict)]
    return {pair.new: pair.old for pair in match(old, new, mapping).pairs}


def _distance(output, expected, i):
    if output.shape != expected.shape:
        raise AssertionError(
            f"The port's output for batch {i} has shape {output.shape}, the original's has {expected.shape}."
        )
    output, expected = output.astype(np.float64), expected.astype(np.float64)
    if not (np.isfinite(output).all() and np.isfinite(expected).all()):
        return math.inf  # equal NaN show nothing, and beside an infinite one any difference is small
    with np.errstate(over="ignore"):
        away = np.max(np.abs(output - expected), initial=0.0)
    return float(away / (np.max(np.abs(expected), initial=0.0) or 1.0))


class _Roughly:
    """A trace whose inputs are another program's."""

    def __init__(self, opened, error):
        self._opened, self._error = opened, error
        self.layers, self.path = opened.layers, opened.path

    def __iter__(self):
        for step in self._opened:
            yield parity.changed(step, input_error=self._error)


def _message(found, errors, flags, rtol, with_inputs):
    """Why this is no parity, or None."""
    outside = [i for i, error in enumerate(errors) if not error <= rtol]
    if found["ok"] and not outside:
        return None
    lines = []
    wrong = [layer for layer in parityreport.worst_first(found["layers"]) if layer["verdict"] != "ok"]
    if wrong or found["problems"]:
        lines.append(parityreport.headline(found))
    for layer in wrong:
        names = ", ".join(cause["id"] for cause in layer["causes"]) or layer["verdict"]
        first = " (diverges first)" if layer.get("first") else ""
        lines.append(f"  {parityreport.matched_names(layer)}{first}: {names}. {parityreport.explanation(layer)}")
    lines += [f"  {problem}" for problem in found["problems"]]
    if not with_inputs and any(cause["id"] == "unexplained" for layer in wrong for cause in layer["causes"]):
        lines.append(
            'The port gives no "inputs" of its layers, so each is judged on those of the original: what is unexplained '
            "may have begun between this layer and the one before."
        )
    if outside:
        worst = max(outside, key=lambda i: errors[i])
        kind = "training" if flags[worst] else "inference"
        text = (
            f"The outputs differ in {len(outside)} of {len(errors)} batches, most in batch {worst} ({kind}): by "
            f"{errors[worst]:.3g} of the largest value, where `rtol` allows {rtol:g}."
        )
        if not math.isfinite(errors[worst]):
            text = (
                f"The outputs cannot be compared in {len(outside)} of {len(errors)} batches, as in batch {worst} "
                f"({kind}): they are not finite everywhere, which shows nothing."
            )
        if not any(layer["verdict"] == FINDING for layer in found["layers"]):
            text += " The moving statistics of all layers are as the original's."
            if not with_inputs:
                text += ' To see which layer it is, have `port` give "inputs" and "outputs" of its layers.'
        lines.append(text)
    return "\n".join(lines)
