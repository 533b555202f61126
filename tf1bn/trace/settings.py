"""What a trace says about a layer, and how JSON is read and checked in it. Reached through ``trace``."""

import dataclasses

from .._util.validation import number, one_of

DTYPES = ("float32", "float16", "float64", "bfloat16")
DATA_FORMATS = ("NHWC", "NCHW")


@dataclasses.dataclass(frozen=True)
class Layer:
    """The settings of one layer; what a trace leaves out has the value given here.

    Attributes:
      decay: the weight of the old value in the moving averages, from 0 to 1; None if not known, or if it is
        another in every step.
      epsilon: what is added to the variance; None if not known.
      data_format: "NHWC": the last axis holds the channels, at any rank; "NCHW": axis 1.
      dtype: that of the moving statistics: "float16", "bfloat16", "float32" or "float64".
      fused: True if the moving variance takes N/(N-1) times the batch variance (Bessel's correction), as
        TensorFlow's fused layers and PyTorch do; False if it takes the batch variance; None if not known.
      zero_debias: whether the moving mean is freed from its start value.
      trainable: whether beta and gamma are trained.
      release: the TensorFlow 1.x release whose rules hold, "1.0" to "1.15"; None if there is none.
      center, scale: whether there are beta and gamma; None if not known.
      axis: the axis of the channels, instead of that of `data_format`; None for that of `data_format`.
      renorm: whether it is batch renormalisation.
      rate_dtype: in what 1 - decay is computed, "float64" or "float32"; None if not known.
      recurrence: how the moving averages take a step, which decides how they round: "difference" for
        a - (a - m)(1 - d), as TensorFlow 1.x, "weighted" for a d + m (1 - d), as Keras and PyTorch; None if not known.
      unrecordable: why no step can hold this layer, a sentence; None for a layer that can be recorded.

    Raises:
      ValueError: a value is none of these; the message names it.
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
    rate_dtype: str | None = None
    recurrence: str | None = None
    unrecordable: str | None = None

    def __post_init__(self):
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
        one_of("rate_dtype", self.rate_dtype, (None, "float64", "float32"))
        one_of("recurrence", self.recurrence, (None, "difference", "weighted"))
        if self.unrecordable is not None and not isinstance(self.unrecordable, str):
            raise ValueError(f"`unrecordable` is {self.unrecordable!r}; it must be a sentence or null.")

    @property
    def channel_axis(self):
        """The axis that holds the channels: -1 for "NHWC", 1 for "NCHW", unless `axis` says otherwise."""
        if self.axis is not None:
            return self.axis
        return -1 if self.data_format == "NHWC" else 1


# What `trace.json` must say about every layer; the rest may be left out.
REQUIRED = ("decay", "epsilon", "data_format", "dtype", "fused", "zero_debias", "trainable", "release")
KNOWN = tuple(field.name for field in dataclasses.fields(Layer))
