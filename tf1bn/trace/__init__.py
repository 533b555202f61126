"""Traces: what the batch-norm layers of a model took, gave and held, step by step, on disk.

    for step in trace.open("run.trace"):
        for name, record in step.layers.items():
            print(step.number, name, record.training, record.moving_mean_before, record.moving_mean_after)

    with trace.Writer("new.trace") as writer:
        writer.add_layer("bn1", decay=0.99, epsilon=1e-3, fused=False)
        writer.add_step({"bn1": {"inputs": [x], "moving_mean_before": a, ...}}, training=True)

Needs NumPy, no TensorFlow. Any program can write a trace; it is a folder of JSON and plain .npy files:

    trace.json      {"format": "tf1bn-trace", "version": 1, "layers": {NAME: SETTINGS, ...}}
    steps.jsonl     one line for each finished step: {"step": 0, "training": true, "layers": {NAME: RECORD, ...}},
                    the layers in the order in which they are applied, if that is known
    arrays/*.npy    arrays of float16, float32 or float64, in version 1.0 or 2.0 of .npy

SETTINGS: the keys "decay", "epsilon", "data_format", "dtype", "fused", "zero_debias", "trainable", "release"; and, if
need be, "center", "scale", "axis", "renorm", "rate_dtype", "recurrence", "unrecordable". `Layer` says what they mean,
and the values of those that are left out. "producer", beside "layers", is a string that says what made the trace. A
file may have further keys, here and elsewhere, which are not looked at.

RECORD, where PATH is the path of a .npy file, relative to the folder, with "/"; or, for vectors, such a path and "#i",
for row i of a 2-D array:

    "inputs": [PATH, ...]               what the layer was given, one array for each time it was applied in this step
    "moments": [{"count": N, "mean": PATH, "variance": PATH}, ...]
                                        or, instead, the moments of each: N values per channel, population variance
    "moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after": PATH
                                        the statistics before and after the step, vectors with a value per channel

and these, which may be left out:

    "outputs": [PATH, ...]              what the layer gave, before any activation, in the shape of the inputs
    "gamma", "beta": PATH               before the step
    "training": true or [true, ...]     where it is not the step's, or differs between applications
    "decay": number or null             where it is not the layer's; null if not known
    "weights": [PATH or null, ...]      for each application, one weight per sample, if there are any
    "state": {NAME: PATH, ...}          "biased" and "local_step" of zero debias, "renorm_mean", "renorm_stddev" and
                                        "moving_stddev" of renorm, before the step; the same with "_after" after it

Steps count up, perhaps with gaps. Numbers that JSON cannot hold are null; arrays may hold NaN. Write a step's arrays
first, then its line, and its newline last: a last line without one is a step that was not finished. Before a layer is
first named in a line, write a new trace.json beside the old one and rename it. Then a run that is killed at any moment
leaves a trace of all its finished steps.

Reading never unpickles and never leaves the folder. A damaged trace gives one `TraceError`, a ValueError, where the
damage is met: the layers are checked by `open`, a step's line when its turn comes, an array when it is asked for.
"""

from ..errors import TraceError
from .reader import Record, Step, Trace
from .settings import Layer
from .writer import Writer

__all__ = ["Layer", "Record", "Step", "Trace", "TraceError", "Writer", "open"]


def open(path):
    """The `Trace` in the folder ``path``; its steps and arrays are read when they are asked for.

    Raises:
      TraceError: there is no trace, it is of another version, or what it says about its layers is damaged.
    """
    return Trace(path)
