"""Traces: what each batch-norm layer of a model took in, gave out and stored, step by step, in a folder on disk.

Reading and writing need NumPy and no TensorFlow:

    for step in trace.open("run.trace"):
        for name, record in step.layers.items():
            print(step.number, name, record.training, record.moving_mean_before, record.moving_mean_after)

    with trace.Writer("new.trace") as writer:
        writer.add_layer("bn1", decay=0.99, epsilon=1e-3, fused=False)
        writer.add_step({"bn1": {"inputs": [x], "moving_mean_before": a, ...}}, training=True)

The format. A trace is a folder of JSON and plain .npy files, which any program can write:

    trace.json      {"format": "tf1bn-trace", "version": 1, "layers": {NAME: SETTINGS, ...}}
    steps.jsonl     one line for each finished step: {"step": 0, "training": true, "layers": {NAME: RECORD, ...}};
                    the layers stand in the order in which they are applied, if that is known
    arrays/*.npy    arrays of float16, float32 or float64 in version 1.0 or 2.0 of the .npy format

SETTINGS has the keys "decay", "epsilon", "data_format", "dtype", "fused", "zero_debias", "trainable" and "release", and
may have "center", "scale", "axis", "renorm", "renorm_clipping", "rate_dtype", "recurrence", "variance_from" and
"unrecordable". `Layer` explains them and gives the values of those that are left out. Beside "layers" there may be
"producer", a string that says what made the trace; "framework" and "framework_version", strings such as "PyTorch" and
"2.13.0"; and "rank" and "ranks", which of how many processes that train together wrote it. A step's line may have
"left_out": N, how many runs of the model since the step before are not in the trace. Readers ignore all other keys,
here and below.

RECORD has these keys. A PATH is the path of a .npy file, relative to the folder and with "/" as separator; for a vector
it may also be such a path followed by "#i", for row i of a 2-D array:

    "inputs": [PATH, ...]               the layer's input, one array for each time it was applied in this step;
    "moments": [{"count": N, "mean": PATH, "variance": PATH}, ...]
                                        or, instead of "inputs", the moments of each input: N values per channel, and
                                        per channel their mean and population variance
    "moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after": PATH
                                        the moving statistics before and after the step, vectors with one value per
                                        channel

It may also have these:

    "outputs": [PATH, ...]              the layer's output before any activation, in the shape of the inputs
    "gamma", "beta": PATH               their values before the step
    "training": true or [true, ...]     whether this layer trained, if that is not the step's "training"; a list if it
                                        differs between applications
    "decay": number or null             the decay in this step, if it is not the layer's; null if it is not known
    "decays": [number or null, ...]     for each application its decay, where they differ, as those of an average of all
                                        batches do; "decay" is null then
    "weights": [PATH or null, ...]      for each application one weight per sample, or null if it had none
    "state": {NAME: PATH, ...}          further variables before the step: "biased" and "local_step" of zero debias,
                                        "renorm_mean", "renorm_stddev" and "moving_stddev" of renorm, PyTorch's
                                        "num_batches_tracked"; with "_after" at the end of the name, their values
                                        after the step
    "updated": [true, ...]              for each application whether it was to update the statistics, if that is not
                                        the same as whether it trained
    "recomputed": [true, ...]           for each application whether it repeats an earlier one of the step, as
                                        activation checkpointing does in the backward pass
    "replicas": [0, ...]                for each application the index of the replica that ran it
    "reduction": "pooled"               how the applications' batches come into the statistics: "pooled" as one batch,
                                        "mean" as the mean of their updates, "none" each by itself, one after the other
    "inputs_dtype", "outputs_dtype": "bfloat16"
                                        what dtype they had in the run, if it is not that of the arrays

A packed trace, `Writer(path, packed=True)`, has "version": 2, and so few files and short lines that a long run can be
kept. A step's line may have

    "block": [PATH, START, SIZE]        SIZE bytes from byte START of a file are the step's block. The PATH of a vector
                                        may then be "#START:f4xN", N float32 numbers from byte START of the block; f2,
                                        f4, f8, i1 to i8 and u1 to u8 are the dtypes, little-endian
    "layout": N                         the number, from 0 to 63, under which readers keep this line's "layers"; a later
                                        line of the same "training" that has the number and no "layers" has those

The numbers of the steps count up, perhaps with gaps. Numbers that JSON cannot hold, such as NaN, are null; arrays may
hold NaN.

To write a trace that can be read at any moment, write the arrays of a step first, then its line, and the newline of the
line last: a last line without a newline is a step that was not finished, which readers skip. Before a line names a
layer for the first time, write a new trace.json beside the old one and rename it. Then a run that is killed leaves a
trace of all its finished steps.

A writer that cannot be sure to be alone keeps a file writer.lock in the folder while it writes: {"process": NUMBER,
"start": TEXT or null, "host": NAME}. A trace of a process that still runs is not replaced. Readers do not look at it.

Readers never unpickle and never open a file outside the folder. Damage raises `TraceError`, a ValueError, when it is
met: in the layers when the trace is opened, in a line when its step is reached, in an array when it is asked for.
"""

from __future__ import annotations

import os

from ..errors import TraceError
from .joining import join
from .reader import Step, Trace
from .record import Record
from .settings import Layer
from .writer import Writer

__all__ = ["Layer", "Record", "Step", "Trace", "TraceError", "Writer", "join", "open"]


def open(path: str | os.PathLike[str]) -> Trace:
    """The `Trace` in the folder ``path``; its steps and arrays are read when they are asked for.

    The folder may also be a URL that fsspec reads, such as "s3://bucket/run.trace".

    Raises:
      TraceError: there is no trace, it is of another version, or what it says about its layers is damaged.
    """
    return Trace(path)
