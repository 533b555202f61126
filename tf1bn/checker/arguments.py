"""Checks of the arguments that several functions of the checker take; each returns the value in its final type."""

from __future__ import annotations

import numbers
import operator
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from .roundoff import UNIT_ROUNDOFF, Bfloat16Bits, bfloat16_bits

# Where the channels of a batch are.
CHANNEL_AXIS = {"NHWC": -1, "NCHW": 1}
FLOATS = (np.float16, np.float32, np.float64)


def vector(name: str, value: npt.ArrayLike, like: npt.NDArray[Any] | None = None) -> npt.NDArray[np.float64]:
    """A read-only float64 copy of a vector of real numbers, one per channel.

    Args:
      name: that of the argument, for the message of an error.
      like: None, or a vector [channels] that has the wanted number of channels.

    Raises:
      TypeError: the values are not real numbers.
      ValueError: this is no vector, it has no channels, or another number of channels than ``like``.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"`{name}` has dtype {array.dtype}; it must hold real numbers.")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"`{name}` has shape {array.shape}; it must be a vector with one value per channel.")
    if like is not None and array.shape != like.shape:
        raise ValueError(f"`{name}` has {array.size} channels; {like.size} are expected.")
    array = array.astype(np.float64)
    array.setflags(write=False)
    return array


def check_data_format(data_format: object) -> None:
    """Raise ValueError unless the value is "NHWC" or "NCHW"."""
    if not isinstance(data_format, str) or data_format not in CHANNEL_AXIS:
        raise ValueError(f'`data_format` is {data_format!r}; it must be "NHWC" or "NCHW".')


def checked_batch(batch: npt.ArrayLike, data_format: str, dtype: str | None = None) -> npt.NDArray[Any]:
    """A batch as an array of rank 2 or more with at least one channel; not a copy, if it is an array already.

    Args:
      dtype: None, or "bfloat16" if an array of uint16 holds the bits of such numbers.

    Returns:
      an array of float16, float32 or float64, or `Bfloat16Bits`.

    Raises:
      TypeError: it is not an array of such numbers, or it is masked.
      ValueError: its rank is below 2, it has no channel, or the dtype is another.
    """
    # Nobody who has not imported numpy.ma has a masked array; importing it takes longer than a small batch.
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())
    if isinstance(batch, masked):
        raise TypeError("`batch` is a masked array, whose mask would be ignored; pass a plain array.")
    if not (dtype is None or (isinstance(dtype, str) and dtype == "bfloat16")):
        raise ValueError(f'`dtype` is {dtype!r}; it must be None, or "bfloat16" for a batch of their bits.')
    try:
        array = np.asanyarray(batch) if isinstance(batch, Bfloat16Bits) else np.asarray(batch)
    except ValueError as error:
        raise TypeError(f"`batch` cannot be turned into an array: {error}") from error
    if array.dtype.type not in FLOATS or dtype is not None:
        bits = bfloat16_bits(array, declared=dtype is not None)
        if bits is None:
            raise TypeError(f"`batch` has dtype {array.dtype}; {_wanted_dtype(array, dtype)}")
        array = bits
    if array.ndim < 2:
        raise ValueError(f"`batch` has shape {array.shape}; it must have at least 2 axes, one of them the channels.")
    if array.shape[CHANNEL_AXIS[data_format]] == 0:
        raise ValueError(f"`batch` has shape {array.shape}; it must have at least one channel.")
    return array


def _wanted_dtype(array, dtype):
    if dtype is not None:
        return 'with `dtype="bfloat16"` it must be uint16, the bits of such numbers, or bfloat16.'
    if array.dtype.type is np.uint16:
        return 'if it holds the bits of bfloat16 numbers, pass `dtype="bfloat16"`; else cast it to float32.'
    return "it must be float16, bfloat16, float32 or float64, so cast it to the one that the layer computes in."


def checked_decay(decay: object) -> float:
    """A number from 0 to 1 as a float; TypeError if it is no number, ValueError if it is another number."""
    if not isinstance(decay, numbers.Real):
        raise TypeError(f"`decay` is {decay!r}; it must be a number from 0 to 1.")
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"`decay` is {decay!r}; it must be a number from 0 to 1.")
    return float(decay)


def checked_integer(name: str, value: Any) -> int:
    """An integer that is not negative; TypeError if it is no integer, ValueError if it is negative."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` is {value!r}; it must be an integer.") from None
    if number < 0:
        raise ValueError(f"`{name}` is {value!r}; it must not be negative.")
    return number


def checked_input_error(value: object) -> float:
    """A number from 0 to below 1 as a float; ValueError otherwise."""
    if not isinstance(value, numbers.Real) or not 0.0 <= value < 1.0:
        raise ValueError(f"`input_error` is {value!r}; it must be a number from 0 to below 1.")
    return float(value)


def checked_dtype(dtype: npt.DTypeLike | None) -> str:
    """The name of the dtype of a layer's statistics; ValueError unless it is a float of 16, 32 or 64 bits."""
    if isinstance(dtype, str) and dtype in UNIT_ROUNDOFF:
        return dtype
    try:
        # NumPy takes None for float64, and does not know bfloat16.
        name = None if dtype is None else dtype if dtype == "bfloat16" else np.dtype(dtype).name
    except TypeError:
        name = None
    if name not in UNIT_ROUNDOFF:
        raise ValueError(f'`dtype` is {dtype!r}; it must be "bfloat16", "float16", "float32" or "float64".')
    return name


def check_rate_dtype(rate_dtype: object) -> None:
    """Raise ValueError unless the value is None, "float32" or "float64"."""
    if rate_dtype not in (None, "float32", "float64"):
        raise ValueError(f'`rate_dtype` is {rate_dtype!r}; it must be None, "float32" or "float64".')


def check_variance_from(variance_from: object) -> None:
    """Raise ValueError unless the value is "deviations", "squares" or None."""
    if not (variance_from is None or (isinstance(variance_from, str) and variance_from in ("deviations", "squares"))):
        raise ValueError(f'`variance_from` is {variance_from!r}; it must be "deviations", "squares" or None.')


def check_recurrence(recurrence: object) -> None:
    """Raise ValueError unless the value is "difference", "weighted" or None."""
    if not (recurrence is None or (isinstance(recurrence, str) and recurrence in ("difference", "weighted"))):
        raise ValueError(f'`recurrence` is {recurrence!r}; it must be "difference", "weighted" or None.')
