"""The fixed words of the format, and the settings of a layer as trace.json holds them. See `tf1bn.trace`."""

from __future__ import annotations

import dataclasses
from typing import Any

from .._util.validation import number, one_of

FORMAT = "tf1bn-trace"
# The plain encoding, and the packed one.
VERSION, PACKED_VERSION = 1, 2
# The keys that every record must have: the statistics before and after the step.
STEP_STATISTICS = ("moving_mean_before", "moving_variance_before", "moving_mean_after", "moving_variance_after")

DTYPES = ("float32", "float16", "float64", "bfloat16")
DATA_FORMATS = ("NHWC", "NCHW")
# How the batches of several replicas, one application each, come into one update.
REDUCTIONS = ("none", "mean", "pooled")


@dataclasses.dataclass(frozen=True, repr=False)
class Layer:
    """The settings of one layer. A setting that a trace leaves out has the default given here.

    Attributes:
      decay: the weight of the old value in the moving averages, from 0 to 1; None if it is not known, or differs from
        step to step.
      epsilon: the number added to the variance; None if it is not known.
      data_format: "NHWC" if the last axis holds the channels, whatever the rank; "NCHW" if axis 1 does.
      dtype: the dtype of the moving statistics: "float16", "bfloat16", "float32" or "float64".
      fused: True if the moving variance takes N/(N-1) times the batch variance (Bessel's correction), as
        TensorFlow's fused layers and PyTorch do; False if it takes the batch variance; None if that is not known.
      zero_debias: whether the moving mean is corrected for its start value.
      trainable: whether beta and gamma are trained.
      release: the TensorFlow 1.x release whose rules hold, "1.0" to "1.15"; None for other layers.
      center: whether there is a beta; None if that is not known.
      scale: whether there is a gamma; None if that is not known.
      axis: the axis of the channels, if it is not that of `data_format`; else None.
      renorm: whether the layer does batch renormalisation.
      renorm_clipping: the limits of its r and d, a dict with any of "rmin", "rmax" and "dmax", numbers or None; empty
        if there are none. None if they are not known, and outputs of training steps are not compared then.
      rate_dtype: the dtype in which 1 - decay is computed, "float64" or "float32"; None if it is not known.
      recurrence: how the moving averages are updated, which decides how they round: "difference" for
        a - (a - m)(1 - d), as TensorFlow 1.x does, "weighted" for a d + m (1 - d), as Keras and PyTorch do; None if it
        is not known.
      variance_from: how the batch's variance is computed, which decides how it rounds: "deviations" for the mean square
        of deviations from a mean, in any form; "squares" for E[x^2] - E[x]^2, as Flax, and Keras on some backends, do;
        None if it is not known, and is then taken for "deviations".
      unrecordable: why no step can hold this layer, a sentence; None for a layer that can be recorded.

    Raises:
      ValueError: a value is not one of these; the message names the setting.
    """

    decay: float | None
    epsilon: float | None
    data_format: str = "NHWC"
    dtype: str = "float32"
    fused: bool | None = None
    zero_debias: bool = False
    trainable: bool = True
    release: str | None = None
    center: bool | None = None
    scale: bool | None = None
    axis: int | None = None
    renorm: bool = False
    renorm_clipping: dict[str, float | None] | None = dataclasses.field(default=None, hash=False)
    rate_dtype: str | None = None
    recurrence: str | None = None
    variance_from: str | None = None
    unrecordable: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", number("decay", self.decay, 0.0, 1.0))
        object.__setattr__(self, "epsilon", number("epsilon", self.epsilon))
        one_of("data_format", self.data_format, DATA_FORMATS)
        one_of("dtype", self.dtype, DTYPES)
        one_of("fused", self.fused, (True, False, None))
        one_of("zero_debias", self.zero_debias, (True, False))
        one_of("trainable", self.trainable, (True, False))
        one_of("release", self.release, (None, *(f"1.{minor}" for minor in range(16))))
        one_of("center", self.center, (True, False, None))
        one_of("scale", self.scale, (True, False, None))
        if self.axis is not None and (not isinstance(self.axis, int) or isinstance(self.axis, bool)):
            raise ValueError(f"`axis` is {self.axis!r}; it must be an integer or null.")
        one_of("renorm", self.renorm, (True, False))
        object.__setattr__(self, "renorm_clipping", _checked_clipping(self.renorm_clipping))
        one_of("rate_dtype", self.rate_dtype, (None, "float64", "float32"))
        one_of("recurrence", self.recurrence, (None, "difference", "weighted"))
        one_of("variance_from", self.variance_from, (None, "deviations", "squares"))
        if self.unrecordable is not None and not isinstance(self.unrecordable, str):
            raise ValueError(f"`unrecordable` is {self.unrecordable!r}; it must be a sentence or null.")

    def __repr__(self) -> str:
        """The settings that differ from their defaults; decay and epsilon have none and are always there."""
        values = ((field.name, getattr(self, field.name), field.default) for field in dataclasses.fields(self))
        return f"Layer({', '.join(f'{name}={value!r}' for name, value, default in values if value != default)})"

    @property
    def channel_axis(self) -> int:
        """The axis that holds the channels: `axis` if it is given, else -1 for "NHWC" and 1 for "NCHW"."""
        if self.axis is not None:
            return self.axis
        return -1 if self.data_format == "NHWC" else 1

    @property
    def known_recurrence(self) -> str | None:
        """`recurrence`, which a release of TensorFlow 1.x implies; None if it is not known."""
        return self.recurrence or (None if self.release is None else "difference")


def _checked_clipping(clipping: Any) -> dict[str, float | None] | None:
    if clipping is None:
        return None
    if not isinstance(clipping, dict) or not set(clipping) <= {"rmin", "rmax", "dmax"}:
        raise ValueError(
            f"`renorm_clipping` is {clipping!r}; it must be null or an object with any of rmin, rmax and dmax."
        )
    return {name: number("renorm_clipping", limit) for name, limit in clipping.items()}


# What trace.json must say about every layer; the rest may be left out.
REQUIRED_SETTINGS = ("decay", "epsilon", "data_format", "dtype", "fused", "zero_debias", "trainable", "release")
ALL_SETTINGS = tuple(field.name for field in dataclasses.fields(Layer))
