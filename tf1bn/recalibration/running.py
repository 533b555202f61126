"""How a model is run when the user does not say it. Reached through `tf1bn.recalibration`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def default_call(model: Any, batch: Any) -> Any:
    """Run a module: a dict gives its keyword arguments, of a tuple or list the first item is its input."""
    return model(**batch) if isinstance(batch, Mapping) else model(first_of(batch))


def first_of(batch: Any) -> Any:
    """The input in a batch: the first item of a tuple or list, anything else as it is."""
    if not isinstance(batch, (tuple, list)):
        return batch
    if not batch:
        raise ValueError(
            f"`batches` has an empty {type(batch).__name__} for a batch; its first item must be the model's input."
        )
    return batch[0]
