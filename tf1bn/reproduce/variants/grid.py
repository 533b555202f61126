"""Runs every variant of the layer on one device, several steps each, in TensorFlow. Measures; judges nothing.

A variant is a code path of the layer: TensorFlow's fused kernel (cuDNN's on a GPU) or the composed form, channels last
or first, float32 or float16. A device on which TensorFlow cannot run one gives its reason instead.
"""

import dataclasses
import functools
import itertools
import re

import numpy as np
import tensorflow as _tf

from ...layers.contrib_batch_norm import batch_norm
from .. import devices as _session

tf = _tf.compat.v1

# N = 18, where Bessel's correction shows in float16 too; one with odd sizes; N = 65536, where sums are long.
SHAPES = ((2, 3, 3, 5), (8, 16, 16, 5), (64, 32, 32, 8))
DECAY = 0.9
STEPS = 3
SCOPE = "variant"
STATISTICS = ("moving_mean", "moving_variance")
# What TensorFlow says of a kernel that a device has not, with an InvalidArgumentError that says other things too.
_NO_KERNEL = re.compile(r"No OpKernel|only support|not support")


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is run: layer, ``data_format``, ``dtype`` of the inputs, and their shape with the channels last."""

    fused: bool
    data_format: str
    dtype: str
    shape: tuple

    @property
    def name(self):
        """Such as "fused NCHW float16"."""
        return f"{'fused' if self.fused else 'composed'} {self.data_format} {self.dtype}"

    @property
    def statistics_dtype(self):
        """That of the moving statistics, and of the composed layer's arithmetic: float32 where the layer is fused."""
        return "float32" if self.fused else self.dtype

    def batches(self):
        """STEPS batches of training and one of testing, [STEPS + 1, *shape]."""
        return _batches(self.shape, self.dtype)


@dataclasses.dataclass(frozen=True)
class Played:
    """A variant that ran with ``decay`` on ``device``, "cpu" or "gpu".

    ``outputs``: [STEPS + 1, *shape], of the training steps and of the test after them, channels last. ``statistics``:
    dict from STATISTICS to [STEPS + 2, C], before the first step, after each, and after the test. ``placements``: the
    `session.Placement` of every operation of the layer. ``ran_fused``: whether one of them was the fused kernel.
    ``same_bits``: whether all of it came out the same, bit for bit, in a second session on a graph built again.
    """

    variant: Variant
    device: str
    decay: float
    outputs: np.ndarray
    statistics: dict
    placements: tuple
    ran_fused: bool
    same_bits: bool


@dataclasses.dataclass(frozen=True)
class NotRun:
    """A variant that did not run, TensorFlow's ``reason``, and whether it is ``impossible`` on that device."""

    variant: Variant
    device: str
    reason: str
    impossible: bool


def grid():
    """All variants, a list."""
    kinds = itertools.product((True, False), ("NHWC", "NCHW"), ("float32", "float16"))
    return [Variant(*kind, shape) for kind in kinds for shape in SHAPES]


@functools.lru_cache(maxsize=len(SHAPES) * 2)
def _batches(shape, dtype):
    """Random batches whose means are 3 to 5 deviations away from 0, other in every channel and step.

    No more, because the composed layer of float16 keeps no digits beyond; far enough for a layer that subtracts
    squares, or that has its moving statistics from the step before, to be wrong by much.
    """
    rng = np.random.default_rng(20170929)
    channels = shape[-1]
    mean = 4.0 * np.arange(1, channels + 1) * np.where(np.arange(channels) % 2, -1, 1)
    made = []
    for step in range(STEPS + 1):
        batch = rng.normal(mean * (1 + 0.2 * step), np.abs(mean) * 0.3, shape)
        made.append(batch.astype(dtype))
    made = np.stack(made)
    made.setflags(write=False)
    return made


def play(variant, device, layer=batch_norm):
    """Train ``variant`` on ``device`` ("cpu" or "gpu") and test it, twice; returns `Played` or `NotRun`."""
    try:
        (outputs, statistics, placements), again = (_run(variant, device, layer) for _ in range(2))
    except tf.errors.OpError as error:
        missing = isinstance(error, tf.errors.InvalidArgumentError) and _NO_KERNEL.search(error.message)
        impossible = isinstance(error, tf.errors.UnimplementedError) or bool(missing)
        return NotRun(variant, device, _reason(error), impossible)
    same = outputs.tobytes() == again[0].tobytes() and all(
        statistics[name].tobytes() == again[1][name].tobytes() for name in STATISTICS
    )
    return Played(
        variant,
        device,
        DECAY,
        outputs,
        statistics,
        placements,
        ran_fused=any("FusedBatchNorm" in placement.operation for placement in placements),
        same_bits=same,
    )


def _reason(error):
    """The one line of TensorFlow's message that says what is wrong: around it are listings of code, graph, kernels."""
    text = re.split(r"^Node: '.*'$", error.message, flags=re.MULTILINE)[-1]
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line and line != "Graph execution error:" and "root error(s) found" not in line]
    return said[0] if said else type(error).__name__


def _run(variant, device, layer):
    first = variant.data_format == "NCHW"
    batches = np.moveaxis(variant.batches(), -1, 2) if first else variant.batches()
    with tf.Graph().as_default(), _session.place(device):
        x = tf.placeholder(variant.dtype, batches.shape[1:])

        def bn(is_training):
            with tf.variable_scope(SCOPE, reuse=tf.AUTO_REUSE, use_resource=True):
                return layer(
                    x,
                    decay=DECAY,
                    is_training=is_training,
                    updates_collections=None,
                    fused=variant.fused,
                    data_format=variant.data_format,
                )

        training, testing = bn(True), bn(False)
        variables = [next(v for v in tf.global_variables() if v.op.name.endswith("/" + name)) for name in STATISTICS]
        with _session.open_session(device) as sess:
            sess.run(tf.global_variables_initializer())
            read = [sess.run(variables)]
            outputs, placements = [], set()
            for step, batch in enumerate(batches):
                fetched = training if step < STEPS else testing
                # TensorFlow enters a variable scope for the second time under another name scope.
                output, placed = _session.placed_run(sess, fetched, {x: batch}, SCOPE, f"{SCOPE}_1")
                outputs.append(output)
                placements.update(placed)
                read.append(sess.run(variables))
    outputs = np.stack(outputs)
    statistics = {name: np.stack([values[i] for values in read]) for i, name in enumerate(STATISTICS)}
    return np.moveaxis(outputs, 2, -1) if first else outputs, statistics, tuple(sorted(placements))
