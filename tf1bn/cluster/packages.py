"""Dask, imported where it is used. Reached through `tf1bn.cluster`."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import ClusterError


def import_dask(module: str, purpose: str) -> Any:
    """A module of Dask.

    Args:
      module: its name: "distributed", or what that needs.
      purpose: what needs it, as the subject of a sentence.

    Raises:
      ClusterError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ClusterError(
            f"{purpose} needs the package `{module}`; install it with `pip install 'dask[distributed]'`, or "
            "`tf1bn[dask]`."
        ) from error


def is_dask(value: Any) -> bool:
    """Whether a value is a collection of Dask's, such as an array or a bag; Dask is not imported for that."""
    return type(value).__module__.partition(".")[0] == "dask"
