"""How the floating-point dtypes round: unit roundoff, smallest number and bits of significand; and bfloat16 numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from ..binary.numbers import widened

HALVES = ("bfloat16", "float16")
# The largest relative error of one rounding to nearest.
UNIT_ROUNDOFF = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}
BFLOAT16_ROUNDOFF = UNIT_ROUNDOFF["bfloat16"]
# What a result can lose to underflow. TensorFlow flushes float32 and float64 denormals to zero; float16 it computes
# through float32, which keeps the denormals of float16.
SMALLEST = {"bfloat16": 2.0**-126, "float16": 2.0**-24, "float32": 2.0**-126, "float64": 2.0**-1022}
SIGNIFICAND_BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}


@functools.cache
def unit_roundoff(*dtypes: npt.DTypeLike) -> float:
    """The largest unit roundoff among ``dtypes``; bfloat16 counts as float32, the dtype of the statistics it goes with.

    Args:
      dtypes: names or NumPy dtypes of floating-point types, of any byte order.

    Raises:
      KeyError: one of them is none of bfloat16, float16, float32 and float64.
    """
    names = ("float32" if dtype == "bfloat16" else np.dtype(dtype).name for dtype in dtypes)
    return max(UNIT_ROUNDOFF[name] for name in names)


def sum_dtype(dtype: str) -> str:
    """The name of the dtype that a layer of ``dtype`` sums in: float32 where the layer keeps a 16-bit dtype."""
    return "float32" if dtype in HALVES else dtype


def step_dtypes(dtype: str) -> tuple[str, ...]:
    """The names of the dtypes that a layer of ``dtype`` may take a step in, before it stores the result.

    Where statistics are float16 TensorFlow computes in float16, and where they are bfloat16 PyTorch does so on a CPU,
    while Keras, and PyTorch on a GPU, compute in float32.
    """
    return ("float32", "bfloat16") if dtype == "bfloat16" else (dtype,)


def rounded_to(values: npt.ArrayLike, dtype: str) -> npt.NDArray[np.float64]:
    """The values rounded to ``dtype``, in float64; infinite where they are beyond it."""
    values = np.asarray(values, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype != "bfloat16":
            return values.astype(dtype).astype(np.float64)
        significand, exponent = np.frexp(values.astype(np.float32).astype(np.float64))
        return np.ldexp(np.rint(significand * 2.0**8) / 2.0**8, exponent).astype(np.float32).astype(np.float64)


class Bfloat16Bits(np.ndarray):
    """The bits of bfloat16 numbers, an array of uint16, since NumPy has no dtype for them; so are slices and views."""


def bfloat16_bits(array: npt.NDArray[Any], declared: bool) -> Bfloat16Bits | None:
    """The bits of an array of bfloat16 numbers, not copied; None if it is another.

    Args:
      array: of the dtype that ml_dtypes registers with NumPy, `Bfloat16Bits`, or of uint16, if they are so declared.
    """
    if isinstance(array, Bfloat16Bits):
        return array
    # The name of a dtype takes long to make, and none of NumPy's own is this one.
    if array.dtype.isbuiltin != 1 and array.dtype.name == "bfloat16":
        return array.view(np.uint16).view(Bfloat16Bits)
    return array.view(Bfloat16Bits) if declared and array.dtype.type is np.uint16 else None


def as_dtype(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The numbers of an array, which may be `Bfloat16Bits`, as ``dtype``; a copy only where it is needed."""
    if isinstance(array, Bfloat16Bits):
        array = widened(np.asarray(array))
    return array.astype(dtype, copy=False)
