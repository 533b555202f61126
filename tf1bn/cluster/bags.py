"""Bags of Dask: batches that workers make or take. Reached through `tf1bn.cluster`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def is_bag(value: Any) -> bool:
    """Whether a value is a `dask.bag.Bag`; Dask is not imported for that."""
    return any(kind.__module__ == "dask.bag.core" and kind.__name__ == "Bag" for kind in type(value).__mro__)


def items(bag: Any) -> Iterator[Any]:
    """The items of a bag, one partition in memory at a time."""
    for partition in bag.to_delayed():
        yield from partition.compute()


def of_partitions(bag: Any, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a function returns for each partition of a bag, in their order, computed where Dask computes the bag.

    Args:
      bag: a `dask.bag.Bag`.
      function: called with the items of a partition, and with ``arguments`` as it would be in another process.
    """
    import cloudpickle
    import dask

    # Unpickled anew for each partition: threads that share a model would disturb each other.
    packed = dask.delayed(cloudpickle.dumps(arguments))
    apply = dask.delayed(_apply, pure=False)
    # Most of Dask's schedulers are threads, and a bag's own are processes; a client's workers come before both.
    return list(dask.compute(*(apply(function, partition, packed) for partition in bag.to_delayed())))


def _apply(function: Callable[..., Any], partition: Any, packed: bytes) -> Any:
    import cloudpickle

    return function(list(partition), *cloudpickle.loads(packed))
