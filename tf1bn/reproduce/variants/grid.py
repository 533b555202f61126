"""The variants of the layer, and running one on a device in TensorFlow. It measures and decides nothing.

A variant is a code path of the layer: TensorFlow's fused kernel (cuDNN's on a GPU) or the composed form, channels last
or first, float32 or float16. Where TensorFlow cannot run a variant on a device, it gives the reason.
"""

import dataclasses
import functools
import itertools
import re
from typing import ClassVar

import numpy as np
import tensorflow as _tf

from ...layers.contrib_batch_norm import batch_norm
from .. import devices

tf = _tf.compat.v1

# N = 18, where Bessel's correction shows in float16 too; N = 2048; N = 65536, where sums are long.
SHAPES = ((2, 3, 3, 5), (8, 16, 16, 5), (64, 32, 32, 8))
DECAY = 0.9
STEPS = 3
SCOPE = "variant"
STATISTICS = ("moving_mean", "moving_variance")
# What TensorFlow's InvalidArgumentError says if a device lacks a kernel; the error has other causes, too.
_NO_KERNEL = re.compile(r"No OpKernel|only support|not support")


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is run.

    Attributes:
      fused: whether the layer is TensorFlow's fused one.
      data_format: "NHWC" or "NCHW".
      dtype: that of the inputs, "float32" or "float16".
      shape: that of the inputs, with the channels last in any format.
    """

    fused: bool
    data_format: str
    dtype: str
    shape: tuple

    @property
    def layer(self):
        """The code path, "fused" or "composed"."""
        return "fused" if self.fused else "composed"

    @property
    def name(self):
        """Such as "fused NCHW float16"."""
        return f"{self.layer} {self.data_format} {self.dtype}"

    @property
    def statistics_dtype(self):
        """The dtype of the moving statistics and of the arithmetic with them: float32 where the layer is fused."""
        return "float32" if self.fused else self.dtype

    def batches(self):
        """STEPS training batches and one test batch, [STEPS + 1, *shape]."""
        return _batches(self.shape, self.dtype)


@dataclasses.dataclass(frozen=True)
class VariantRun:
    """A variant that ran.

    Attributes:
      variant: the `Variant`.
      device: "cpu" or "gpu".
      decay: that of the layer.
      outputs: [STEPS + 1, *shape], of the training steps and of the test after them, with the channels last.
      statistics: dict from STATISTICS to [STEPS + 2, C]: before the first step, after each, and after the test.
      placements: a `devices.Placement` for every operation of the layer.
      ran_fused: whether one of them was the fused kernel.
      same_bits: whether a second session, on a graph built again, gave all of it bit for bit.
    """

    variant: Variant
    device: str
    decay: float
    outputs: np.ndarray
    statistics: dict
    placements: tuple
    ran_fused: bool
    same_bits: bool
    ran: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class NotRun:
    """A variant that did not run.

    Attributes:
      variant: the `Variant`.
      device: "cpu" or "gpu".
      reason: what TensorFlow says.
      impossible: whether the device lacks the kernel, so that it can never run there.
    """

    variant: Variant
    device: str
    reason: str
    impossible: bool
    ran: ClassVar[bool] = False


def all_variants():
    """All variants in all shapes, a list."""
    kinds = itertools.product((True, False), ("NHWC", "NCHW"), ("float32", "float16"))
    return [Variant(*kind, shape) for kind in kinds for shape in SHAPES]


@functools.lru_cache(maxsize=len(SHAPES) * 2)
def _batches(shape, dtype):
    """Random batches whose means are 3 to 5 standard deviations away from 0, and differ between channels and steps.

    With larger means the composed layer in float16 would have no correct digits. These are large enough to make a
    layer wrong by much that subtracts squares or uses the moving statistics of the step before.
    """
    rng = np.random.default_rng(20170929)
    channels = shape[-1]
    mean = 4.0 * np.arange(1, channels + 1) * np.where(np.arange(channels) % 2, -1, 1)
    batches = np.stack(
        [rng.normal(mean * (1 + 0.2 * step), np.abs(mean) * 0.3, shape).astype(dtype) for step in range(STEPS + 1)]
    )
    batches.setflags(write=False)
    return batches


def run_variant(variant, device, layer=batch_norm):
    """Train ``variant`` on ``device`` ("cpu" or "gpu") and test it, twice; returns `VariantRun` or `NotRun`."""
    try:
        (outputs, statistics, placements), again = (_run(variant, device, layer) for _ in range(2))
    except tf.errors.OpError as error:
        no_kernel = isinstance(error, tf.errors.InvalidArgumentError) and _NO_KERNEL.search(error.message)
        impossible = isinstance(error, tf.errors.UnimplementedError) or bool(no_kernel)
        return NotRun(variant, device, _reason(error), impossible)
    same = outputs.tobytes() == again[0].tobytes() and all(
        statistics[name].tobytes() == again[1][name].tobytes() for name in STATISTICS
    )
    return VariantRun(
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
    """The line of TensorFlow's message that says what is wrong, without the listings of code, graph and kernels."""
    text = re.split(r"^Node: '.*'$", error.message, flags=re.MULTILINE)[-1]
    lines = [line.strip() for line in text.splitlines()]
    reasons = [
        line for line in lines if line and line != "Graph execution error:" and "root error(s) found" not in line
    ]
    return reasons[0] if reasons else type(error).__name__


def _run(variant, device, layer):
    channels_first = variant.data_format == "NCHW"
    batches = np.moveaxis(variant.batches(), -1, 2) if channels_first else variant.batches()
    with tf.Graph().as_default(), devices.device_scope(device):
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
        with devices.open_session(device) as sess:
            sess.run(tf.global_variables_initializer())
            read = [sess.run(variables)]
            outputs, placements = [], set()
            for step, batch in enumerate(batches):
                fetched = training if step < STEPS else testing
                # TensorFlow enters a variable scope for the second time under another name scope.
                output, new_placements = devices.run_with_placements(sess, fetched, {x: batch}, SCOPE, f"{SCOPE}_1")
                outputs.append(output)
                placements.update(new_placements)
                read.append(sess.run(variables))
    outputs = np.stack(outputs)
    statistics = {name: np.stack([values[i] for values in read]) for i, name in enumerate(STATISTICS)}
    return np.moveaxis(outputs, 2, -1) if channels_first else outputs, statistics, tuple(sorted(placements))
