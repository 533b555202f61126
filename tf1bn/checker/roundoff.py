"""How the floating-point dtypes round: unit roundoff, smallest number and bits of significand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# The largest relative error of one rounding to nearest.
UNIT_ROUNDOFF = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}
# Of outputs in bfloat16; `unit_roundoff` says why it is not in the table.
BFLOAT16_ROUNDOFF = 2.0**-8
# What a result can lose to underflow. TensorFlow flushes float32 and float64 denormals to zero; float16 it computes
# through float32, which keeps the denormals of float16.
SMALLEST = {"float16": 2.0**-24, "float32": 2.0**-126, "float64": 2.0**-1022}
SIGNIFICAND_BITS = {"float16": 11, "float32": 24, "float64": 53}


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
    """The name of the dtype that a layer of ``dtype`` sums in: TensorFlow sums float16 in float32."""
    return "float32" if dtype == "float16" else dtype
