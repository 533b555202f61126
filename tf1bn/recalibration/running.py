"""How a model is run when the user does not say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def default_call(model: Any, batch: Any, **options: Any) -> Any:
    """Run a model: a dict gives its keyword arguments, of a tuple or list the first item is its input."""
    if isinstance(batch, Mapping):
        return model(**batch, **options)
    if isinstance(batch, (tuple, list)):
        if not batch:
            raise ValueError("`batches` has an empty tuple for a batch; its first item must be the model's input.")
        batch = batch[0]
    return model(batch, **options)
